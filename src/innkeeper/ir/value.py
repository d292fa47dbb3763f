# SPDX-License-Identifier: Apache-2.0
"""Typed bit-vector values over which instruction definitions run.

A `Bits` is a number; operations on it are evaluated at once by `innkeeper.ir.evaluate`. An `Expr` is a
symbol; operations on it build a graph that `innkeeper.codegen` lowers to LLVM. A definition cannot tell
them apart, and neither has a truth value: an `if` on guest data fails loudly. All arithmetic wraps at the
width; an `int` beside a value takes its width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from innkeeper.ir.evaluate import EVALUATE


class Value:
    """A bit vector of `width` bits, without sign: signed operations are named."""

    __slots__ = ("width",)
    width: int

    def __bool__(self) -> NoReturn:
        raise TypeError("a guest value has no truth value in a definition: use select()")

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Operand) -> Value:
        return binary("add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Operand) -> Value:
        return binary("sub", self, other)

    def __rsub__(self, other: Operand) -> Value:
        return binary("sub", constant(other, self.width), self)

    def __mul__(self, other: Operand) -> Value:
        return binary("mul", self, other)

    def __and__(self, other: Operand) -> Value:
        return binary("and", self, other)

    __rand__ = __and__

    def __or__(self, other: Operand) -> Value:
        return binary("or", self, other)

    __ror__ = __or__

    def __xor__(self, other: Operand) -> Value:
        return binary("xor", self, other)

    __rxor__ = __xor__

    def __invert__(self) -> Value:
        return binary("xor", self, (1 << self.width) - 1)

    def __neg__(self) -> Value:
        return binary("sub", constant(0, self.width), self)

    def __lshift__(self, amount: Operand) -> Value:
        """Shift left; the amount is taken modulo the width (a power of two)."""
        return binary("shl", self, amount)

    def __rshift__(self, amount: Operand) -> Value:
        """Logical shift right; the amount is taken modulo the width (a power of two)."""
        return binary("lshr", self, amount)

    def __rlshift__(self, number: int) -> Value:
        return binary("shl", constant(number, self.width), self)

    def __eq__(self, other: object) -> Value:  # type: ignore[override]
        return binary("eq", self, _operand(other))

    def __ne__(self, other: object) -> Value:  # type: ignore[override]
        return binary("ne", self, _operand(other))


Operand = Value | int


class Bits(Value):
    """A known bit vector: `value` in 0 .. 2**width - 1."""

    __slots__ = ("value",)

    def __init__(self, value: int, width: int) -> None:
        self.value = value & ((1 << width) - 1)
        self.width = width

    def __int__(self) -> int:
        return self.value

    @property
    def signed(self) -> int:
        """The value read as two's complement."""
        return self.value - (1 << self.width) if self.value >> (self.width - 1) else self.value

    def __repr__(self) -> str:
        return f"Bits({self.value:#x}, {self.width})"


class Expr(Value):
    """A symbolic bit vector: `op` applied to `args`; `attr` holds what is not a value."""

    __slots__ = ("args", "attr", "op")

    def __init__(self, op: str, width: int, args: Sequence[Value] = (), attr: object = None) -> None:
        self.op = op
        self.width = width
        self.args = tuple(args)
        self.attr = attr

    def __repr__(self) -> str:
        inner = ", ".join(map(repr, self.args))
        return f"{self.op}{self.width}({inner}{'; ' + repr(self.attr) if self.attr is not None else ''})"


def _operand(value: object) -> Operand:
    if isinstance(value, Value | int):
        return value
    raise TypeError(f"{value!r} is no guest value")


def constant(value: Operand, width: int) -> Value:
    """`value` as a `Value` of `width` bits (an int is wrapped; a value must have that width)."""
    if isinstance(value, int):
        return Bits(value, width)
    if value.width != width:
        raise TypeError(f"a value of {value.width} bits where {width} are needed")
    return value


def apply(op: str, width: int, *args: Value, attr: int | None = None) -> Value:
    """`op` on `args`, evaluated if all are known, else as a symbol."""
    if all(isinstance(a, Bits) for a in args):
        values = [a.value for a in args if isinstance(a, Bits)]
        return Bits(EVALUATE[op](args[0].width, *values), width)
    return Expr(op, width, args, attr)


_COMPARISONS = frozenset({"eq", "ne", "ult", "slt"})


def binary(op: str, a: Value, b: Operand) -> Value:
    """A two-operand operation whose operands have one width; comparisons give 1 bit."""
    other = constant(b, a.width)
    return apply(op, 1 if op in _COMPARISONS else a.width, a, other)


def ult(a: Value, b: Operand) -> Value:
    """1 bit: a < b without sign."""
    return binary("ult", a, b)


def slt(a: Value, b: Operand) -> Value:
    """1 bit: a < b in two's complement."""
    return binary("slt", a, b)


def sra(a: Value, amount: Operand) -> Value:
    """Arithmetic shift right; the amount is taken modulo the width."""
    return binary("ashr", a, amount)


def udiv(a: Value, b: Operand) -> Value:
    """Quotient without sign; by zero all ones, as RISC-V has it."""
    return binary("udiv", a, b)


def urem(a: Value, b: Operand) -> Value:
    """Remainder without sign; by zero the dividend, as RISC-V has it."""
    return binary("urem", a, b)


def sdiv(a: Value, b: Operand) -> Value:
    """Signed quotient towards zero; by zero -1; on overflow the dividend, as RISC-V has it."""
    return binary("sdiv", a, b)


def srem(a: Value, b: Operand) -> Value:
    """Signed remainder; by zero the dividend; on overflow 0, as RISC-V has it."""
    return binary("srem", a, b)


def select(condition: Value, a: Operand, b: Operand) -> Value:
    """a if the 1-bit condition is 1, else b; at least one of them is a value."""
    if condition.width != 1:
        raise TypeError("select needs a condition of 1 bit")
    width = a.width if isinstance(a, Value) else b.width if isinstance(b, Value) else 64
    a, b = constant(a, width), constant(b, width)
    if isinstance(condition, Bits):
        return a if condition.value else b
    return Expr("select", width, (condition, a, b))


def zext(a: Value, width: int) -> Value:
    """a with zeros above."""
    return a if a.width == width else apply("zext", width, a)


def sext(a: Value, width: int) -> Value:
    """a with its sign above."""
    if a.width == width:
        return a
    if isinstance(a, Bits):
        return Bits(a.signed, width)
    return Expr("sext", width, (a,))


def trunc(a: Value, width: int) -> Value:
    """The low `width` bits of a."""
    return a if a.width == width else apply("trunc", width, a)


def concat(high: Value, low: Value) -> Value:
    """`high` above `low`."""
    width = high.width + low.width
    return zext(high, width) << low.width | zext(low, width) if width in (16, 32, 64, 128) else _bad(width)


def _bad(width: int) -> NoReturn:
    raise TypeError(f"no values of {width} bits")


def clz(a: Value) -> Value:
    """Number of zeros above the highest one; the width for 0."""
    return apply("clz", a.width, a)


def ctz(a: Value) -> Value:
    """Number of zeros below the lowest one; the width for 0."""
    return apply("ctz", a.width, a)


def popcount(a: Value) -> Value:
    """Number of ones."""
    return apply("popcount", a.width, a)


def byte_swap(a: Value) -> Value:
    """a with its bytes in the opposite order."""
    return apply("bswap", a.width, a)
