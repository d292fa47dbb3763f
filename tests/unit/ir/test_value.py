# SPDX-License-Identifier: Apache-2.0
"""Operations on values: the corner cases that the instruction set depends on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.ir.value import (
    Bits,
    Expr,
    Value,
    byte_swap,
    clz,
    concat,
    constant,
    ctz,
    popcount,
    sdiv,
    select,
    sext,
    slt,
    sra,
    srem,
    trunc,
    udiv,
    ult,
    urem,
    zext,
)

WIDTHS = (8, 16, 32, 64, 128)


def number(value: Value) -> int:
    assert isinstance(value, Bits)
    assert 0 <= value.value < 1 << value.width
    return value.value


def signed(value: Value) -> int:
    assert isinstance(value, Bits)
    return value.signed


@st.composite
def pairs(draw: st.DrawFn) -> tuple[int, int, int]:
    """A width and two numbers of it, often at the corners."""
    width = draw(st.sampled_from(WIDTHS))
    top = 1 << width
    one = st.one_of(
        st.sampled_from([0, 1, 2, top - 1, top - 2, top >> 1, (top >> 1) - 1]), st.integers(0, top - 1)
    )
    return width, draw(one), draw(one)


@pytest.mark.parametrize("width", WIDTHS)
def test_division_by_zero(width: int) -> None:
    for raw in (0, 1, 5, (1 << width) - 1, 1 << (width - 1)):
        dividend = Bits(raw, width)
        assert number(udiv(dividend, 0)) == (1 << width) - 1
        assert signed(sdiv(dividend, 0)) == -1
        assert number(urem(dividend, 0)) == raw
        assert number(srem(dividend, 0)) == raw


@pytest.mark.parametrize("width", WIDTHS)
def test_signed_division_overflow(width: int) -> None:
    least = Bits(1 << (width - 1), width)
    assert number(sdiv(least, -1)) == 1 << (width - 1)
    assert number(srem(least, -1)) == 0


@pytest.mark.parametrize(
    ("a", "b", "quotient", "remainder"), [(7, 2, 3, 1), (-7, 2, -3, -1), (7, -2, -3, 1), (-7, -2, 3, -1)]
)
def test_signed_division_truncates(a: int, b: int, quotient: int, remainder: int) -> None:
    assert signed(sdiv(Bits(a, 64), b)) == quotient
    assert signed(srem(Bits(a, 64), b)) == remainder


@given(pairs())
def test_division_law(case: tuple[int, int, int]) -> None:
    """quotient * divisor + remainder is the dividend, in every case but none."""
    width, a, b = case
    x, y = Bits(a, width), Bits(b, width)
    assert number(udiv(x, y) * y + urem(x, y)) == a
    assert number(sdiv(x, y) * y + srem(x, y)) == a


@pytest.mark.parametrize("width", WIDTHS)
def test_shift_amount_is_modulo_the_width(width: int) -> None:
    value = Bits(1 << (width - 1) | 1, width)
    assert number(value << width) == value.value
    assert number(value >> width) == value.value
    assert number(sra(value, width)) == value.value
    assert number(value << (width + 1)) == 2
    assert number(value >> -1) == 1
    assert number(sra(value, width - 1)) == (1 << width) - 1


@given(pairs())
def test_comparisons(case: tuple[int, int, int]) -> None:
    width, a, b = case
    x, y = Bits(a, width), Bits(b, width)
    assert number(ult(x, y)) == int(a < b)
    assert number(slt(x, y)) == int(x.signed < y.signed)
    assert number(x == y) == int(a == b)
    assert number(x != y) == int(a != b)
    assert ult(x, y).width == 1


@given(pairs())
def test_arithmetic_wraps(case: tuple[int, int, int]) -> None:
    width, a, b = case
    x, y = Bits(a, width), Bits(b, width)
    assert number(x + y) == (a + b) % (1 << width)
    assert number(x - y) == (a - b) % (1 << width)
    assert number(x * y) == a * b % (1 << width)
    assert number(-x) == -a % (1 << width)
    assert number(~x) == (1 << width) - 1 - a
    assert number(3 - x) == (3 - a) % (1 << width)
    assert number(1 << (y & (width - 1))) == 1 << b % width


@given(pairs())
def test_counting(case: tuple[int, int, int]) -> None:
    width, a, _ = case
    bits = f"{a:0{width}b}"
    assert number(clz(Bits(a, width))) == len(bits) - len(bits.lstrip("0"))
    assert number(ctz(Bits(a, width))) == len(bits) - len(bits.rstrip("0"))
    assert number(popcount(Bits(a, width))) == bits.count("1")


def test_extension_and_truncation() -> None:
    assert number(sext(Bits(0x80, 8), 64)) == 0xFFFF_FFFF_FFFF_FF80
    assert number(sext(Bits(0x7F, 8), 64)) == 0x7F
    assert number(zext(Bits(0x80, 8), 64)) == 0x80
    assert number(trunc(Bits(0x1_8000_0001, 64), 32)) == 0x8000_0001
    assert number(sext(trunc(Bits(0x1_8000_0001, 64), 32), 64)) == 0xFFFF_FFFF_8000_0001
    assert number(concat(Bits(0xDEAD, 16), Bits(0xBEEF, 16))) == 0xDEADBEEF
    assert number(byte_swap(Bits(0x0102_0304, 32))) == 0x0403_0201


def test_select() -> None:
    assert number(select(Bits(1, 1), Bits(7, 64), 9)) == 7
    assert number(select(Bits(0, 1), Bits(7, 64), -1)) == (1 << 64) - 1
    with pytest.raises(TypeError):
        select(Bits(1, 64), Bits(7, 64), 9)


@pytest.mark.parametrize("value", [Bits(0, 64), Bits(1, 1), Expr("read_x", 64)])
def test_no_truth_value(value: Value) -> None:
    """A Python `if` on guest data fails, on numbers as on symbols."""
    with pytest.raises(TypeError, match="select"):
        bool(value)
    with pytest.raises(TypeError):
        bool(value == 0)
    with pytest.raises(TypeError):
        hash(value)


def test_widths_must_agree() -> None:
    with pytest.raises(TypeError):
        Bits(1, 64) + Bits(1, 32)
    with pytest.raises(TypeError):
        constant(Bits(1, 32), 64)


def test_symbols_build_a_graph() -> None:
    x = Expr("read_x", 64, attr="rs1")
    result = sext(trunc(x, 32) + 1, 64)
    assert isinstance(result, Expr) and result.op == "sext" and result.width == 64
    (added,) = result.args
    assert isinstance(added, Expr) and added.op == "add" and added.width == 32
    assert isinstance(added.args[1], Bits) and added.args[1].width == 32
