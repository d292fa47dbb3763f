# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of a hart, on integers.

Every operation marks the floating-point state dirty, whether it raises a flag or not.
"""

from __future__ import annotations

from innkeeper.ir.value import Bits, Value
from innkeeper.isa.riscv import ieee754
from innkeeper.isa.riscv.state import FFLAGS, FRM, FS_DIRTY

DYNAMIC = 7
"""The rm field that stands for frm."""


def number_of(value: Value) -> int:
    """The number that a value is; TypeError for a symbol, which this engine never meets."""
    if isinstance(value, Bits):
        return value.value
    raise TypeError("a symbol in the reference engine")


class FloatingOperations:
    """The part of `Hart` that computes with floats; flags go to FFLAGS."""

    words: memoryview

    def _rounding(self, rm: int) -> int:
        return self.words[FRM] if rm == DYNAMIC else rm

    def _result(self, result: tuple[int, int], width: int) -> Value:
        value, flags = result
        self.words[FFLAGS] |= flags
        self.words[FS_DIRTY] = 1
        return Bits(value, width)

    def fadd(self, a: Value, b: Value, rm: int) -> Value:
        return self._result(ieee754.add(number_of(a), number_of(b), a.width, self._rounding(rm)), a.width)

    def fsub(self, a: Value, b: Value, rm: int) -> Value:
        return self._result(ieee754.sub(number_of(a), number_of(b), a.width, self._rounding(rm)), a.width)

    def fmul(self, a: Value, b: Value, rm: int) -> Value:
        return self._result(ieee754.mul(number_of(a), number_of(b), a.width, self._rounding(rm)), a.width)

    def fdiv(self, a: Value, b: Value, rm: int) -> Value:
        return self._result(ieee754.div(number_of(a), number_of(b), a.width, self._rounding(rm)), a.width)

    def fsqrt(self, a: Value, rm: int) -> Value:
        return self._result(ieee754.sqrt(number_of(a), a.width, self._rounding(rm)), a.width)

    def fma(self, a: Value, b: Value, c: Value, rm: int) -> Value:
        x, y, z = number_of(a), number_of(b), number_of(c)
        return self._result(ieee754.fma(x, y, z, a.width, self._rounding(rm)), a.width)

    def feq(self, a: Value, b: Value) -> Value:
        return self._result(ieee754.eq(number_of(a), number_of(b), a.width), 1)

    def flt(self, a: Value, b: Value) -> Value:
        return self._result(ieee754.lt(number_of(a), number_of(b), a.width), 1)

    def fle(self, a: Value, b: Value) -> Value:
        return self._result(ieee754.le(number_of(a), number_of(b), a.width), 1)

    def float_to_int(self, a: Value, width: int, signed: bool, rm: int) -> Value:
        return self._result(ieee754.to_int(number_of(a), a.width, width, signed, self._rounding(rm)), width)

    def int_to_float(self, a: Value, signed: bool, width: int, rm: int) -> Value:
        return self._result(ieee754.from_int(number_of(a), signed, a.width, width, self._rounding(rm)), width)

    def float_to_float(self, a: Value, width: int, rm: int) -> Value:
        return self._result(ieee754.convert(number_of(a), a.width, width, self._rounding(rm)), width)

    def raise_flags(self, flags: Value) -> None:
        self._result((0, number_of(flags)), 1)
