# SPDX-License-Identifier: Apache-2.0
"""What an instruction definition may do: the hart as it sees it.

The reference engine implements it on numbers, `innkeeper.isa.riscv.trace` on symbols. Rules that make both
the same, checked while tracing: registers are read before any is written; whatever may trap comes before
the first write; a `system` call, `jump` or `branch` is the last thing that an instruction does, except that
a result of `system` may be written to a register.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from innkeeper.ir.value import Operand, Value

Rounding = int
"""The rm field: 0 RNE, 1 RTZ, 2 RDN, 3 RUP, 4 RMM, 7 dynamic (frm). 5 and 6 never reach a definition."""


class Registers(Protocol):
    """x or f: indexed by an operand (rd, rs1, ...). Values have 64 bits; a write may be an int."""

    def __getitem__(self, register: Any, /) -> Value: ...

    def __setitem__(self, register: Any, value: Operand, /) -> None: ...


class Hart(Protocol):
    """One hart while it executes one instruction."""

    x: Registers
    """Writes to x0 are dropped."""
    f: Registers
    """Raw 64 bits. Writing marks the floating-point state dirty."""

    @property
    def pc(self) -> Value:
        """Address of this instruction."""

    @property
    def next_pc(self) -> Value:
        """Address of the instruction behind this one (2 or 4 bytes on)."""

    def number(self, register: Any) -> Value:
        """The register's number (0..31) as a 64-bit value."""

    def load(self, address: Value, width: int) -> Value:
        """`width` (8, 16, 32, 64) bits from memory; may trap. Misaligned addresses work."""

    def store(self, address: Value, value: Value) -> None:
        """`value` (its width says how many bits) to memory; may trap."""

    def load_reserved(self, address: Value, width: int) -> Value:
        """LR; traps if misaligned."""

    def store_conditional(self, address: Value, value: Value) -> Value:
        """SC: 64 bits, 0 on success and 1 on failure; traps if misaligned."""

    def amo(self, operation: str, address: Value, value: Value) -> Value:
        """Atomic read-modify-write; the old value. `operation`: swap add and or xor min max minu maxu."""

    def jump(self, target: Value) -> None:
        """Go on at `target`, which is even."""

    def branch(self, condition: Value, target: Value) -> None:
        """Go on at `target` (pc plus a constant) if the 1-bit condition holds."""

    def system(self, function: Callable[..., int], *arguments: Operand) -> Value:
        """Call the `@native` function(h, *arguments).

        h[PC] holds this instruction's address and h[BUDGET] is exact. It returns 0 after it has moved h[PC]
        on, else OUTCOME_TRAP (the trap is already taken) or an exit reason + OUTCOME_EXIT. The value is
        h[RESULT]. At most one a definition.
        """

    def fence(self, predecessor: Value, successor: Value) -> None:
        """Order memory accesses; the 4-bit I O R W sets of the fence instruction, as 64-bit values."""

    # Floating point: operands and results are raw bits of 32 or 64; flags accrue; NaN results are canonical.

    def fadd(self, a: Value, b: Value, rm: Rounding) -> Value: ...

    def fsub(self, a: Value, b: Value, rm: Rounding) -> Value: ...

    def fmul(self, a: Value, b: Value, rm: Rounding) -> Value: ...

    def fdiv(self, a: Value, b: Value, rm: Rounding) -> Value: ...

    def fsqrt(self, a: Value, rm: Rounding) -> Value: ...

    def fma(self, a: Value, b: Value, c: Value, rm: Rounding) -> Value:
        """a * b + c rounded once; infinity times zero raises NV whatever c is."""

    def feq(self, a: Value, b: Value) -> Value:
        """1 bit; quiet: NV only for signalling NaNs."""

    def flt(self, a: Value, b: Value) -> Value:
        """1 bit; NV for any NaN."""

    def fle(self, a: Value, b: Value) -> Value:
        """1 bit; NV for any NaN."""

    def float_to_int(self, a: Value, width: int, signed: bool, rm: Rounding) -> Value:
        """`width` (32, 64) bits, saturating with NV; NaN gives the largest."""

    def int_to_float(self, a: Value, signed: bool, width: int, rm: Rounding) -> Value:
        """From 32 or 64 bits to a float of `width`."""

    def float_to_float(self, a: Value, width: int, rm: Rounding) -> Value: ...

    def raise_flags(self, flags: Value) -> None:
        """Accrue the 5 bits (NX 1, UF 2, OF 4, DZ 8, NV 16) given as a 64-bit value."""
