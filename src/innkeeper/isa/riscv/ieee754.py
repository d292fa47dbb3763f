# SPDX-License-Identifier: Apache-2.0
"""Correctly rounded binary floating point on Python integers: the reference engine's arithmetic.

Every function takes and gives raw bits, and gives the exception flags that it raised beside its result. It
decodes operands to exact numbers `significand * 2**exponent`, computes exactly (quotient and root with a
sticky bit), and rounds once, in `_round`. A NaN result is the canonical one; tininess is detected after
rounding; `rm` is 0 RNE, 1 RTZ, 2 RDN, 3 RUP or 4 RMM; widths are 32 or 64.

Spec: IEEE 754-2019; riscv-unpriv 20240411, "F" Extension, sections on NaNs, subnormals and conversions
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

RNE, RTZ, RDN, RUP, RMM = range(5)
NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16


@dataclass(frozen=True)
class Format:
    """An interchange format of `width` bits; its significand has `precision`, the hidden bit included."""

    width: int
    precision: int

    @cached_property
    def sign_bit(self) -> int:
        """The sign."""
        return 1 << (self.width - 1)

    @cached_property
    def magnitude_mask(self) -> int:
        """All but the sign."""
        return self.sign_bit - 1

    @cached_property
    def fraction_mask(self) -> int:
        """The stored bits of the significand."""
        return self.smallest_normal - 1

    @cached_property
    def smallest_normal(self) -> int:
        """Bits of the smallest positive normal number, which is also exponent field 1 and the hidden bit."""
        return 1 << (self.precision - 1)

    @cached_property
    def infinity(self) -> int:
        """Bits of +infinity, which is also the mask of the exponent field."""
        return self.sign_bit - self.smallest_normal

    @cached_property
    def quiet_bit(self) -> int:
        """Set in a quiet NaN, clear in a signalling one."""
        return self.smallest_normal >> 1

    @cached_property
    def canonical_nan(self) -> int:
        """The NaN that every operation gives."""
        return self.infinity | self.quiet_bit

    @cached_property
    def exponent_minimum(self) -> int:
        """Of the last place of subnormals and the smallest normals: they are significand * 2**this."""
        bias = (1 << (self.width - self.precision - 1)) - 1
        return 2 - bias - self.precision


SINGLE = Format(32, 24)
DOUBLE = Format(64, 53)
FORMATS = {32: SINGLE, 64: DOUBLE}
