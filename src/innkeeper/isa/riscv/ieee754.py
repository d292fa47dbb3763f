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
from math import isqrt

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

Result = tuple[int, int]
"""Raw bits (or 0 and 1 of a comparison) and the flags raised."""

Finite = tuple[int, int, int]
"""sign (0, 1), significand and exponent: (-1)**sign * significand * 2**exponent, exactly."""


def _decode(format: Format, a: int) -> Finite:
    """The exact value of finite bits."""
    exponent = (a & format.magnitude_mask) >> (format.precision - 1)
    significand = a & format.fraction_mask
    if exponent:
        return (
            a >> (format.width - 1),
            significand | format.smallest_normal,
            format.exponent_minimum + exponent - 1,
        )
    return a >> (format.width - 1), significand, format.exponent_minimum


def _round_integer(significand: int, shift: int, sign: int, rm: int) -> tuple[int, bool]:
    """significand / 2**shift rounded to an integer, and whether that is inexact."""
    if shift <= 0:
        return significand << -shift, False
    kept = significand >> shift
    rest = significand - (kept << shift)
    if not rest:
        return kept, False
    if rm in (RNE, RMM):
        half = 1 << (shift - 1)
        return kept + (rest > half or (rest == half and (rm == RMM or kept & 1 == 1))), True
    if rm == RTZ:
        return kept, True
    return kept + ((rm == RDN) == bool(sign)), True


def _round(format: Format, value: Finite, rm: int) -> Result:
    """The bits nearest to `value`, which may be zero, and OF, UF, NX.

    An inexact quotient or root comes with 2 bits more than the precision and below them a sticky bit.
    """
    sign, significand, exponent = value
    sign_bit = format.sign_bit if sign else 0
    if not significand:
        return sign_bit, 0
    precision = format.precision
    place = max(exponent + significand.bit_length() - precision, format.exponent_minimum)
    kept, inexact = _round_integer(significand, place - exponent, sign, rm)
    # The hidden bit counts 1 in the exponent field, so subnormals (place is the minimum, no hidden bit) and a
    # carry into the next binade need no case of their own.
    bits = (place - format.exponent_minimum << precision - 1) + kept
    if bits >= format.infinity:
        away = rm in (RNE, RMM) or (rm != RTZ and (rm == RDN) == bool(sign))
        return sign_bit | (format.infinity if away else format.infinity - 1), OF | NX
    if not inexact:
        return sign_bit | bits, 0
    if bits < format.smallest_normal:
        return sign_bit | bits, UF | NX
    if bits == format.smallest_normal and significand.bit_length() + exponent < place + precision:
        # Rounded up to the smallest normal. It is not tiny if it would be so with one bit more as well.
        finer, _ = _round_integer(significand, place - exponent - 1, sign, rm)
        return sign_bit | bits, NX if finer >> precision else UF | NX
    return sign_bit | bits, NX


def _any_nan(format: Format, *operands: int) -> Result | None:
    """The result if an operand is a NaN: canonical, with NV if one of them is signalling."""
    mask, infinity = format.magnitude_mask, format.infinity
    if not any(a & mask > infinity for a in operands):
        return None
    signalling = any(infinity < a & mask < format.canonical_nan for a in operands)
    return format.canonical_nan, NV if signalling else 0


def _is_infinite(format: Format, a: int) -> bool:
    return a & format.magnitude_mask == format.infinity


def _sum(format: Format, a: Finite, b: Finite, rm: int) -> Result:
    """a + b; an exact zero of unlike signs is -0 when rounding down, else +0."""
    exponent = min(a[2], b[2])
    x, y = a[1] << (a[2] - exponent), b[1] << (b[2] - exponent)
    total = (-x if a[0] else x) + (-y if b[0] else y)
    sign = int(total < 0) if total else a[0] if a[0] == b[0] else int(rm == RDN)
    return _round(format, (sign, abs(total), exponent), rm)


def add(a: int, b: int, width: int, rm: int) -> Result:
    """a + b; NV for infinities of unlike signs."""
    format = FORMATS[width]
    if nan := _any_nan(format, a, b):
        return nan
    if _is_infinite(format, a):
        return (format.canonical_nan, NV) if b == a ^ format.sign_bit else (a, 0)
    if _is_infinite(format, b):
        return b, 0
    return _sum(format, _decode(format, a), _decode(format, b), rm)


def sub(a: int, b: int, width: int, rm: int) -> Result:
    """a - b; NV for infinities of like signs."""
    return add(a, b ^ FORMATS[width].sign_bit, width, rm)


def _product(format: Format, a: int, b: int) -> Finite | None:
    """Exact a * b of finite bits; None if one is infinite."""
    if _is_infinite(format, a) or _is_infinite(format, b):
        return None
    x, y = _decode(format, a), _decode(format, b)
    return x[0] ^ y[0], x[1] * y[1], x[2] + y[2]


def _is_infinity_times_zero(format: Format, a: int, b: int) -> bool:
    return {a & format.magnitude_mask, b & format.magnitude_mask} == {0, format.infinity}


def mul(a: int, b: int, width: int, rm: int) -> Result:
    """a * b; NV for infinity times zero."""
    format = FORMATS[width]
    if nan := _any_nan(format, a, b):
        return nan
    if _is_infinity_times_zero(format, a, b):
        return format.canonical_nan, NV
    product = _product(format, a, b)
    if product is None:
        return (a ^ b) & format.sign_bit | format.infinity, 0
    return _round(format, product, rm)


def fma(a: int, b: int, c: int, width: int, rm: int) -> Result:
    """a * b + c rounded once; NV for infinity times zero, even if c is a quiet NaN, and as for `add`."""
    format = FORMATS[width]
    if _is_infinity_times_zero(format, a, b):
        return format.canonical_nan, NV
    if nan := _any_nan(format, a, b, c):
        return nan
    product = _product(format, a, b)
    if product is None:
        return add((a ^ b) & format.sign_bit | format.infinity, c, width, rm)
    if _is_infinite(format, c):
        return c, 0
    return _sum(format, product, _decode(format, c), rm)


def div(a: int, b: int, width: int, rm: int) -> Result:
    """a / b; DZ for a finite number by zero; NV for 0/0 and infinity/infinity."""
    format = FORMATS[width]
    if nan := _any_nan(format, a, b):
        return nan
    sign_bit = (a ^ b) & format.sign_bit
    if _is_infinite(format, a):
        return (format.canonical_nan, NV) if _is_infinite(format, b) else (sign_bit | format.infinity, 0)
    if _is_infinite(format, b):
        return sign_bit, 0
    x, y = _decode(format, a), _decode(format, b)
    if not y[1]:
        return (sign_bit | format.infinity, DZ) if x[1] else (format.canonical_nan, NV)
    shift = format.precision + 2 + y[1].bit_length() - x[1].bit_length()
    quotient, remainder = divmod(x[1] << shift, y[1])
    return _round(format, (x[0] ^ y[0], quotient << 1 | (remainder != 0), x[2] - y[2] - shift - 1), rm)


def sqrt(a: int, width: int, rm: int) -> Result:
    """Square root; of -0 it is -0; NV below."""
    format = FORMATS[width]
    if nan := _any_nan(format, a):
        return nan
    if a & format.magnitude_mask == 0 or a == format.infinity:
        return a, 0
    sign, significand, exponent = _decode(format, a)
    if sign:
        return format.canonical_nan, NV
    shift = 2 * format.precision + 6 - significand.bit_length()
    shift += (exponent - shift) % 2
    radicand = significand << shift
    root = isqrt(radicand)
    return _round(format, (0, root << 1 | (root * root != radicand), (exponent - shift) // 2 - 1), rm)


def _order(format: Format, a: int) -> int:
    """A number that compares as the value of a does; both zeros are 0."""
    magnitude = a & format.magnitude_mask
    return -magnitude if a & format.sign_bit else magnitude


def eq(a: int, b: int, width: int) -> Result:
    """a == b, quiet: NV only for signalling NaNs."""
    format = FORMATS[width]
    if nan := _any_nan(format, a, b):
        return 0, nan[1]
    return int(_order(format, a) == _order(format, b)), 0


def lt(a: int, b: int, width: int) -> Result:
    """a < b; NV for any NaN."""
    format = FORMATS[width]
    if _any_nan(format, a, b):
        return 0, NV
    return int(_order(format, a) < _order(format, b)), 0


def le(a: int, b: int, width: int) -> Result:
    """a <= b; NV for any NaN."""
    format = FORMATS[width]
    if _any_nan(format, a, b):
        return 0, NV
    return int(_order(format, a) <= _order(format, b)), 0


def to_int(a: int, width: int, int_width: int, signed: bool, rm: int) -> Result:
    """a as an integer of `int_width` bits; saturates with NV alone; a NaN gives the largest."""
    format = FORMATS[width]
    low, high = (-1 << int_width - 1, (1 << int_width - 1) - 1) if signed else (0, (1 << int_width) - 1)
    mask = (1 << int_width) - 1
    if a & format.magnitude_mask > format.infinity:
        return high, NV
    sign, significand, exponent = _decode(format, a)  # infinity decodes to a number beyond every integer
    magnitude, inexact = _round_integer(significand, -exponent, sign, rm)
    value = -magnitude if sign else magnitude
    if low <= value <= high:
        return value & mask, NX if inexact else 0
    return (low if sign else high) & mask, NV


def from_int(value: int, signed: bool, int_width: int, width: int, rm: int) -> Result:
    """The float of `width` nearest to the integer whose bits are the `int_width` of `value`."""
    if signed and value >> int_width - 1:
        return _round(FORMATS[width], (1, (1 << int_width) - value, 0), rm)
    return _round(FORMATS[width], (0, value, 0), rm)


def convert(a: int, from_width: int, to_width: int, rm: int) -> Result:
    """a in another format; NV for a signalling NaN."""
    source, target = FORMATS[from_width], FORMATS[to_width]
    if nan := _any_nan(source, a):
        return target.canonical_nan, nan[1]
    if _is_infinite(source, a):
        return target.infinity | (target.sign_bit if a & source.sign_bit else 0), 0
    return _round(target, _decode(source, a), rm)
