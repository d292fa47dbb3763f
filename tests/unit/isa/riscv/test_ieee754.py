# SPDX-License-Identifier: Apache-2.0
"""Floating point on integers against exact fractions in every mode, and against the host's own arithmetic."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from fractions import Fraction

import pytest

from innkeeper.isa.riscv import ieee754
from innkeeper.isa.riscv.ieee754 import (
    DOUBLE,
    DZ,
    FORMATS,
    NV,
    NX,
    OF,
    RDN,
    RMM,
    RNE,
    RTZ,
    RUP,
    SINGLE,
    UF,
    Format,
)

MODES = (RNE, RTZ, RDN, RUP, RMM)
WIDTHS = (32, 64)
LAYOUT = {32: ("<f", "<I"), 64: ("<d", "<Q")}
LIMITS = {32: (24, -126, 127), 64: (53, -1022, 1023)}
"""Precision, smallest and largest exponent of normal numbers, as IEEE 754-2019 table 3.5 has them."""
INF, NAN, SNAN = {}, {}, {}
for _width, _inf in ((32, 0x7F80_0000), (64, 0x7FF0_0000_0000_0000)):
    INF[_width], SNAN[_width] = _inf, _inf + 1
    NAN[_width] = {32: 0x7FC0_0000, 64: 0x7FF8_0000_0000_0000}[_width]


def to_float(bits: int, width: int) -> float:
    """The host's reading of the bits (single to double is exact)."""
    number, raw = LAYOUT[width]
    return float(struct.unpack(number, struct.pack(raw, bits))[0])


def to_bits(value: float, width: int) -> int:
    number, raw = LAYOUT[width]
    return int(struct.unpack(raw, struct.pack(number, value))[0])


def round_fraction(value: Fraction, ulp: Fraction, rm: int) -> Fraction:
    """The multiple of `ulp` that `rm` chooses."""
    scaled = value / ulp
    if rm == RNE:
        return round(scaled) * ulp
    if rm == RMM:
        return math.floor(abs(scaled) + Fraction(1, 2)) * ulp * (1 if value > 0 else -1)
    if rm == RTZ:
        return math.trunc(scaled) * ulp
    return (math.floor(scaled) if rm == RDN else math.ceil(scaled)) * ulp


def nearest(value: Fraction, width: int, rm: int, zero_sign: int = 0) -> tuple[int, int]:
    """Bits and flags by the standard's words: round with unbounded exponent, then look at the range."""
    sign_bit = 1 << width - 1
    if not value:
        return zero_sign * sign_bit, 0
    precision, exponent_minimum, exponent_maximum = LIMITS[width]
    exponent = abs(value.numerator).bit_length() - value.denominator.bit_length()
    if Fraction(2) ** exponent > abs(value):
        exponent -= 1
    assert Fraction(2) ** exponent <= abs(value) < Fraction(2) ** (exponent + 1)
    unbounded = round_fraction(value, Fraction(2) ** (exponent - precision + 1), rm)
    if abs(unbounded) >= Fraction(2) ** (exponent_maximum + 1):
        away = rm in (RNE, RMM) or rm == (RDN if value < 0 else RUP)
        return (INF[width] if away else INF[width] - 1) | (value < 0) * sign_bit, OF | NX
    tiny = abs(unbounded) < Fraction(2) ** exponent_minimum
    least_exponent = max(exponent, exponent_minimum)
    result = round_fraction(value, Fraction(2) ** (least_exponent - precision + 1), rm)
    flags = 0 if result == value else NX | UF if tiny else NX
    return to_bits(math.copysign(float(abs(result)), -1 if value < 0 else 1), width), flags


def corners(width: int) -> list[int]:
    """Finite bits of both signs at which something changes."""
    format = FORMATS[width]
    normal, one = format.smallest_normal, to_bits(1.0, width)
    near = [
        0,
        1,
        2,
        3,
        normal // 2,
        normal - 1,
        normal,
        normal + 1,
        2 * normal,
        INF[width] - 1,
        INF[width] - 2,
    ]
    near += [INF[width] - normal, INF[width] - 2 * normal, one - 2, one - 1, one, one + 1, one + 2]
    near += [one + (k * normal) for k in (1, -1, 2, 23, 24, 31, 32, 52, 53, 62, 63, 64, -format.precision)]
    near += [to_bits(2.0**e, width) + 1 for e in (LIMITS[width][1] // 2, LIMITS[width][2] // 2)]
    return near + [bits | format.sign_bit for bits in near]


def random_finite(source: random.Random, width: int) -> int:
    """Finite bits, biased towards corners, similar exponents and long runs of ones and zeros."""
    format = FORMATS[width]
    choice = source.random()
    if choice < 0.3:
        return source.choice(corners(width))
    if choice < 0.5:
        bits = source.getrandbits(width)
        return bits if bits & format.magnitude_mask < format.infinity else bits & ~format.infinity
    run = format.fraction_mask & -(1 << source.randrange(format.precision))
    fraction = source.choice([run, format.fraction_mask ^ run, source.getrandbits(format.precision - 1)])
    middle = to_bits(1.0, width) // format.smallest_normal
    field = middle + source.randrange(-60, 60) if choice < 0.8 else source.randrange(3)
    return source.getrandbits(1) << (width - 1) | field * format.smallest_normal | fraction


@pytest.fixture
def source(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers; the seed shows in the output of a failed test."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    return random.Random(seed)


def exact(bits: int, width: int) -> Fraction:
    return Fraction(to_float(bits, width))


def sum_zero_sign(a: int, b: int, width: int, rm: int) -> int:
    """Sign of an exact zero sum. Spec: IEEE 754-2019 6.3"""
    signs = a >> width - 1, b >> width - 1
    return signs[0] if signs[0] == signs[1] else int(rm == RDN)


@pytest.mark.parametrize("width", WIDTHS)
def test_sum_product_quotient(source: random.Random, width: int) -> None:
    flip = 1 << width - 1
    values = corners(width)
    pairs = [(source.choice(values), source.choice(values)) for _ in range(600)]
    pairs += [(random_finite(source, width), random_finite(source, width)) for _ in range(600)]
    for a, b in pairs:
        x, y, sign = exact(a, width), exact(b, width), (a ^ b) >> width - 1
        for rm in MODES:
            at = hex(a), hex(b), rm
            zero = sum_zero_sign(a, b, width, rm)
            assert ieee754.add(a, b, width, rm) == nearest(x + y, width, rm, zero), at
            zero = sum_zero_sign(a, b ^ flip, width, rm)
            assert ieee754.sub(a, b, width, rm) == nearest(x - y, width, rm, zero), at
            assert ieee754.mul(a, b, width, rm) == nearest(x * y, width, rm, sign), at
            if y:
                assert ieee754.div(a, b, width, rm) == nearest(x / y, width, rm, sign), at


@pytest.mark.parametrize("width", WIDTHS)
def test_fused_multiply_add(source: random.Random, width: int) -> None:
    for _ in range(1000):
        a, b, c = (random_finite(source, width) for _ in range(3))
        if source.random() < 0.5:  # an addend that cancels most or all of the product
            product, _ = ieee754.mul(a, b, width, source.choice(MODES))
            if product & FORMATS[width].magnitude_mask < INF[width]:
                c = product ^ 1 << width - 1
        for rm in MODES:
            zero = sum_zero_sign(a ^ b, c, width, rm)
            expected = nearest(exact(a, width) * exact(b, width) + exact(c, width), width, rm, zero)
            assert ieee754.fma(a, b, c, width, rm) == expected, (hex(a), hex(b), hex(c), rm)


@pytest.mark.parametrize("width", WIDTHS)
def test_square_root_lies_between_the_squares(source: random.Random, width: int) -> None:
    positive = [v for v in corners(width) if 0 < v < INF[width]]
    for _ in range(1000):
        positive.append(random_finite(source, width) & FORMATS[width].magnitude_mask or 1)
    for a in positive:
        value = exact(a, width)
        down, flags = ieee754.sqrt(a, width, RDN)
        root, above = exact(down, width), exact(down + 1, width)
        assert root * root <= value < above * above
        is_exact = root * root == value
        assert flags == (0 if is_exact else NX)
        up = down if is_exact else down + 1
        closest = up if ((root + above) / 2) ** 2 < value else down  # never half-way: that takes p + 1 bits
        expected = {RNE: closest, RTZ: down, RDN: down, RUP: up, RMM: closest}
        for rm in MODES:
            assert ieee754.sqrt(a, width, rm) == (expected[rm], flags), (hex(a), rm)


def test_double_agrees_with_the_host(source: random.Random) -> None:
    operations: list[tuple[Callable[..., tuple[int, int]], Callable[[float, float], float]]] = [
        (ieee754.add, lambda x, y: x + y),
        (ieee754.sub, lambda x, y: x - y),
        (ieee754.mul, lambda x, y: x * y),
        (ieee754.div, lambda x, y: x / y),
    ]
    specials = [0, 1 << 63, INF[64], INF[64] | 1 << 63, NAN[64]]
    for _ in range(5000):
        a, b = (
            source.choice(specials) if source.random() < 0.1 else random_finite(source, 64) for _ in range(2)
        )
        x, y = to_float(a, 64), to_float(b, 64)
        for ours, host in operations:
            if host(1.0, 2.0) == 0.5 and y == 0:
                continue
            result = host(x, y)
            expected = NAN[64] if math.isnan(result) else to_bits(result, 64)
            assert ours(a, b, 64, RNE)[0] == expected, (hex(a), hex(b), ours.__name__)
        if x >= 0:
            assert ieee754.sqrt(a, 64, RNE)[0] == to_bits(math.sqrt(x), 64)
        for ours, answer in ((ieee754.eq, x == y), (ieee754.lt, x < y), (ieee754.le, x <= y)):
            assert ours(a, b, 64)[0] == answer, (hex(a), hex(b), ours.__name__)


@pytest.mark.parametrize("width", WIDTHS)
def test_tininess_is_seen_after_rounding(width: int) -> None:
    format = FORMATS[width]
    half = to_bits(0.5, width)
    largest_subnormal, smallest = format.smallest_normal - 1, format.smallest_normal
    # (2 - 2**-(p-1)) * 2**(emin-1): with p bits it is exact and tiny, as a subnormal it rounds up to normal.
    just_below = 2 * smallest - 1
    assert ieee754.mul(just_below, half, width, RNE) == (smallest, UF | NX)
    assert ieee754.mul(just_below, half, width, RTZ) == (largest_subnormal, UF | NX)
    # Nearer than half of the finer last place: rounds to 2**emin with unbounded exponent too, so not tiny.
    three_quarters = to_bits(2.0 ** -(format.precision + 1), width)
    argument = ieee754.fma, smallest, three_quarters ^ format.sign_bit, smallest
    assert argument[0](*argument[1:], width, RNE) == (smallest, NX)
    assert argument[0](*argument[1:], width, RUP) == (smallest, NX)
    assert argument[0](*argument[1:], width, RDN) == (largest_subnormal, UF | NX)
    # Exact subnormals raise nothing.
    assert ieee754.mul(smallest, half, width, RNE) == (smallest >> 1, 0)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("rm", "positive_overflows", "negative_overflows"),
    [(RNE, True, True), (RTZ, False, False), (RDN, False, True), (RUP, True, False), (RMM, True, True)],
)
def test_overflow(width: int, rm: int, positive_overflows: bool, negative_overflows: bool) -> None:
    sign, largest = FORMATS[width].sign_bit, INF[width] - 1
    assert ieee754.add(largest, largest, width, rm) == (largest + positive_overflows, OF | NX)
    expected = (largest + negative_overflows) | sign
    assert ieee754.add(largest | sign, largest | sign, width, rm) == (expected, OF | NX)
    # Half a last place above the largest is the boundary: a tie, which goes away from the odd largest.
    half_place = to_bits(2.0 ** (LIMITS[width][2] - LIMITS[width][0]), width)
    expected_at_tie = (INF[width], OF | NX) if positive_overflows else (largest, NX)
    assert ieee754.add(largest, half_place, width, rm) == expected_at_tie
    below = ieee754.add(largest, half_place - 1, width, rm)
    assert below == ((INF[width], OF | NX) if rm == RUP else (largest, NX))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rm", MODES)
def test_special_operands(width: int, rm: int) -> None:
    inf, nan, snan, sign = INF[width], NAN[width], SNAN[width], FORMATS[width].sign_bit
    one, payload = to_bits(1.0, width), NAN[width] | sign | 5
    invalid, quiet = (nan, NV), (nan, 0)
    for operation in (ieee754.add, ieee754.sub, ieee754.mul, ieee754.div):
        assert operation(payload, one, width, rm) == operation(inf, payload, width, rm) == quiet
        assert operation(snan, one, width, rm) == operation(payload, snan | sign, width, rm) == invalid
    assert ieee754.add(inf, inf | sign, width, rm) == ieee754.sub(inf, inf, width, rm) == invalid
    assert ieee754.add(inf, inf, width, rm) == ieee754.sub(inf, one, width, rm) == (inf, 0)
    assert ieee754.mul(inf, sign, width, rm) == ieee754.mul(0, inf, width, rm) == invalid
    assert ieee754.mul(inf | sign, one, width, rm) == (inf | sign, 0)
    assert ieee754.div(0, sign, width, rm) == ieee754.div(inf, inf, width, rm) == invalid
    assert ieee754.div(one, sign, width, rm) == (inf | sign, DZ)
    assert ieee754.div(inf, 0, width, rm) == (inf, 0)
    assert ieee754.div(one, inf | sign, width, rm) == (sign, 0)
    assert ieee754.sqrt(sign, width, rm) == (sign, 0)
    assert ieee754.sqrt(inf, width, rm) == (inf, 0)
    assert ieee754.sqrt(one | sign, width, rm) == ieee754.sqrt(inf | sign, width, rm) == invalid
    assert ieee754.sqrt(payload, width, rm) == quiet
    assert ieee754.fma(inf, 0, payload, width, rm) == ieee754.fma(inf, one, inf | sign, width, rm) == invalid
    assert ieee754.fma(payload, inf, 0, width, rm) == ieee754.fma(one, one, payload, width, rm) == quiet
    assert ieee754.fma(snan, 0, payload, width, rm) == ieee754.fma(one, one, snan, width, rm) == invalid
    assert ieee754.fma(inf, one | sign, one, width, rm) == (inf | sign, 0)
    assert ieee754.fma(one, one, inf | sign, width, rm) == (inf | sign, 0)


@pytest.mark.parametrize("width", WIDTHS)
def test_comparisons(width: int) -> None:
    sign, nan, snan, inf = FORMATS[width].sign_bit, NAN[width], SNAN[width], INF[width]
    assert ieee754.eq(0, sign, width) == ieee754.le(0, sign, width) == (1, 0)
    assert ieee754.lt(sign, 0, width) == (0, 0)
    assert ieee754.lt(inf | sign, sign | 1, width) == ieee754.lt(sign | 2, sign | 1, width) == (1, 0)
    assert ieee754.eq(nan, nan, width) == (0, 0)
    assert ieee754.eq(nan, snan, width) == (0, NV)
    for compare in (ieee754.lt, ieee754.le):
        assert compare(nan, 0, width) == compare(0, snan, width) == (0, NV)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("int_width", WIDTHS)
@pytest.mark.parametrize("signed", [True, False])
def test_to_integer(source: random.Random, width: int, int_width: int, signed: bool) -> None:
    low, high = (-(1 << int_width - 1), (1 << int_width - 1) - 1) if signed else (0, (1 << int_width) - 1)
    mask, sign = (1 << int_width) - 1, FORMATS[width].sign_bit
    limits = [to_bits(float(v), width) for v in (2.0 ** (int_width - 1), 2.0**int_width, 0.5, 1.0, 1.5, 2.5)]
    operands = [v + d | s for v in limits for d in (-1, 0, 1) for s in (0, sign)] + corners(width)
    for a in operands + [random_finite(source, width) for _ in range(500)]:
        for rm in MODES:
            rounded = int(round_fraction(exact(a, width), Fraction(1), rm))
            expected = rounded & mask, 0 if rounded == exact(a, width) else NX
            if not low <= rounded <= high:
                expected = (low if rounded < low else high) & mask, NV
            assert ieee754.to_int(a, width, int_width, signed, rm) == expected, (hex(a), rm)
    for nan in (NAN[width], NAN[width] | sign, SNAN[width], INF[width]):
        assert ieee754.to_int(nan, width, int_width, signed, RNE) == (high, NV)
    assert ieee754.to_int(INF[width] | sign, width, int_width, signed, RNE) == (low & mask, NV)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("int_width", WIDTHS)
def test_from_integer(source: random.Random, width: int, int_width: int) -> None:
    top = 1 << int_width
    values = [0, 1, top - 1, top // 2, top // 2 - 1, top // 2 + 1, (1 << 24) + 1, (1 << 24) + 3, 0xFFFF_FF80]
    values += [source.getrandbits(int_width) >> source.randrange(int_width) for _ in range(500)]
    for value in values:
        for rm in MODES:
            expected = nearest(Fraction(value), width, rm)
            assert ieee754.from_int(value, False, int_width, width, rm) == expected, (hex(value), rm)
            negative = value - top if value >= top // 2 else value
            expected = nearest(Fraction(negative), width, rm)
            assert ieee754.from_int(value, True, int_width, width, rm) == expected, (hex(value), rm)


def test_double_to_single(source: random.Random) -> None:
    halfway = [to_bits(v, 64) for v in (2.0**-149, 2.0**-150, 2.0**-126, 2.0**128 - 2.0**103, 1 + 2.0**-24)]
    operands = [v + d for v in halfway for d in (-1, 0, 1)] + [v for v in corners(64)]
    for _ in range(2000):
        wide, _ = ieee754.convert(random_finite(source, 32), 32, 64, RNE)
        operands.append(wide ^ source.choice([1, 1 << 28, 3 << 27, source.getrandbits(29), 1 << 63]))
    for a in operands:
        for rm in MODES:
            expected = nearest(exact(a, 64), 32, rm, a >> 63)
            assert ieee754.convert(a, 64, 32, rm) == expected, (hex(a), rm)


def test_single_to_double_is_exact(source: random.Random) -> None:
    for a in corners(32) + [random_finite(source, 32) for _ in range(1000)]:
        assert ieee754.convert(a, 32, 64, source.choice(MODES)) == (to_bits(to_float(a, 32), 64), 0), hex(a)


@pytest.mark.parametrize(("narrow", "wide"), [(SINGLE, DOUBLE), (DOUBLE, SINGLE)])
def test_special_values_between_formats(narrow: Format, wide: Format) -> None:
    a, b = narrow.width, wide.width
    assert ieee754.convert(INF[a] | narrow.sign_bit, a, b, RTZ) == (INF[b] | wide.sign_bit, 0)
    assert ieee754.convert(NAN[a] | narrow.sign_bit | 3, a, b, RNE) == (NAN[b], 0)
    assert ieee754.convert(SNAN[a] | narrow.sign_bit, a, b, RNE) == (NAN[b], NV)
    assert ieee754.convert(narrow.sign_bit, a, b, RUP) == (wide.sign_bit, 0)
