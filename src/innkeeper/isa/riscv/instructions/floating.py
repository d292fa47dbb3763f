# SPDX-License-Identifier: Apache-2.0
"""F and D: single and double precision arithmetic. Conversions, moves, loads and stores are in
`floating_move`.

One definition gives the meaning in both precisions: `fmt` in an encoding stands for the two bits of the
precision, in a syntax for its letter. Rounding and accrued flags are the hart's.

Spec: riscv-unpriv 20240411, "F" Extension for Single-Precision Floating-Point, "D" Extension
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from innkeeper.ir.value import Value, constant, select, slt, sra, trunc, ult, zext
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart, Rounding
from innkeeper.isa.riscv.ieee754 import DOUBLE, NV, SINGLE, Format

BOX = 0xFFFF_FFFF_0000_0000
"""The upper bits of a register that holds a single. Spec: D, "NaN Boxing of Narrower Values" """


@dataclass(frozen=True)
class Precision:
    """How one format is encoded and held in the f registers."""

    letter: str
    """In the names of arithmetic: fadd.s, fadd.d."""
    size_letter: str
    """In the names of moves, loads and stores: fmv.x.w, flw, fsd."""
    bits: str
    """The fmt field of the encoding."""
    extension: str
    format: Format

    def read(self, hart: Hart, register: Any) -> Value:
        """The operand's `format.width` bits; a single that is not boxed reads as the canonical NaN."""
        raw = hart.f[register]
        if self.format.width == raw.width:
            return raw
        return select(ult(raw, BOX), self.format.canonical_nan, trunc(raw, self.format.width))

    def write(self, hart: Hart, register: Any, value: Value) -> None:
        """Set the register to `format.width` bits, boxed where they are fewer than the register's."""
        hart.f[register] = value if value.width == 64 else zext(value, 64) | BOX


S = Precision("s", "w", "00", "F", SINGLE)
D = Precision("d", "d", "01", "D", DOUBLE)

Meaning = Callable[..., None]


def each_precision(encoding: str, syntax: str) -> Callable[[Meaning], Meaning]:
    """Register the function `(precision, hart, operands...)` once for each precision."""

    def register(meaning: Meaning) -> Meaning:
        for precision in (S, D):
            execute = partial(meaning, precision)
            instruction(
                encoding.replace("fmt", precision.bits),
                syntax.replace("fmt", precision.letter).replace("size", precision.size_letter),
                extension=precision.extension,
            )(execute)
        return meaning

    return register


def _is_nan(format: Format, a: Value) -> Value:
    """1 bit: a is a NaN."""
    return ult(constant(format.infinity, a.width), a & format.magnitude_mask)


def _is_signalling(format: Format, a: Value) -> Value:
    """1 bit: a is a signalling NaN, i.e. its magnitude is above infinity and below the first quiet NaN."""
    return ult((a & format.magnitude_mask) - (format.infinity + 1), format.quiet_bit - 1)


def _less(format: Format, a: Value, b: Value) -> Value:
    """1 bit: a < b for numbers, with -0 < +0: sign and magnitude compared as two's complement."""
    last = format.width - 1
    return slt(a ^ (sra(a, last) >> 1), b ^ (sra(b, last) >> 1))


# Computation


@each_precision("00000 fmt rs2 rs1 rm rd 1010011", "fadd.fmt frd, frs1, frs2, rm")
def fadd(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any, rm: Rounding) -> None:
    """Add."""
    p.write(hart, rd, hart.fadd(p.read(hart, rs1), p.read(hart, rs2), rm))


@each_precision("00001 fmt rs2 rs1 rm rd 1010011", "fsub.fmt frd, frs1, frs2, rm")
def fsub(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any, rm: Rounding) -> None:
    """Subtract."""
    p.write(hart, rd, hart.fsub(p.read(hart, rs1), p.read(hart, rs2), rm))


@each_precision("00010 fmt rs2 rs1 rm rd 1010011", "fmul.fmt frd, frs1, frs2, rm")
def fmul(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any, rm: Rounding) -> None:
    """Multiply."""
    p.write(hart, rd, hart.fmul(p.read(hart, rs1), p.read(hart, rs2), rm))


@each_precision("00011 fmt rs2 rs1 rm rd 1010011", "fdiv.fmt frd, frs1, frs2, rm")
def fdiv(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any, rm: Rounding) -> None:
    """Divide."""
    p.write(hart, rd, hart.fdiv(p.read(hart, rs1), p.read(hart, rs2), rm))


@each_precision("01011 fmt 00000 rs1 rm rd 1010011", "fsqrt.fmt frd, frs1, rm")
def fsqrt(p: Precision, hart: Hart, rd: Any, rs1: Any, rm: Rounding) -> None:
    """Square root."""
    p.write(hart, rd, hart.fsqrt(p.read(hart, rs1), rm))


# Fused multiply-add. The product or the addend is negated by flipping the sign of an operand, which is exact
# and keeps what kind of NaN it is. Negating the result instead would give the wrong zero and rounding.


@each_precision("rs3 fmt rs2 rs1 rm rd 1000011", "fmadd.fmt frd, frs1, frs2, frs3, rm")
def fmadd(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any, rs3: Any, rm: Rounding) -> None:
    """rs1 * rs2 + rs3."""
    p.write(hart, rd, hart.fma(p.read(hart, rs1), p.read(hart, rs2), p.read(hart, rs3), rm))


@each_precision("rs3 fmt rs2 rs1 rm rd 1000111", "fmsub.fmt frd, frs1, frs2, frs3, rm")
def fmsub(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any, rs3: Any, rm: Rounding) -> None:
    """rs1 * rs2 - rs3."""
    addend = p.read(hart, rs3) ^ p.format.sign_bit
    p.write(hart, rd, hart.fma(p.read(hart, rs1), p.read(hart, rs2), addend, rm))


@each_precision("rs3 fmt rs2 rs1 rm rd 1001011", "fnmsub.fmt frd, frs1, frs2, frs3, rm")
def fnmsub(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any, rs3: Any, rm: Rounding) -> None:
    """-(rs1 * rs2) + rs3."""
    factor = p.read(hart, rs1) ^ p.format.sign_bit
    p.write(hart, rd, hart.fma(factor, p.read(hart, rs2), p.read(hart, rs3), rm))


@each_precision("rs3 fmt rs2 rs1 rm rd 1001111", "fnmadd.fmt frd, frs1, frs2, frs3, rm")
def fnmadd(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any, rs3: Any, rm: Rounding) -> None:
    """-(rs1 * rs2) - rs3."""
    factor = p.read(hart, rs1) ^ p.format.sign_bit
    addend = p.read(hart, rs3) ^ p.format.sign_bit
    p.write(hart, rd, hart.fma(factor, p.read(hart, rs2), addend, rm))


# Minimum and maximum: IEEE 754-2019 minimumNumber and maximumNumber.


def _choose(p: Precision, hart: Hart, rd: Any, a: Value, b: Value, prefer_a: Value) -> None:
    """Write a if preferred, else b; a number before a NaN; NV for signalling NaNs."""
    a_nan, b_nan = _is_nan(p.format, a), _is_nan(p.format, b)
    invalid = _is_signalling(p.format, a) | _is_signalling(p.format, b)
    number = select(b_nan | (prefer_a & ~a_nan), a, b)
    hart.raise_flags(select(invalid, constant(NV, 64), 0))
    p.write(hart, rd, select(a_nan & b_nan, p.format.canonical_nan, number))


@each_precision("00101 fmt rs2 rs1 000 rd 1010011", "fmin.fmt frd, frs1, frs2")
def fmin(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """The smaller; -0 is smaller than +0."""
    a, b = p.read(hart, rs1), p.read(hart, rs2)
    _choose(p, hart, rd, a, b, _less(p.format, a, b))


@each_precision("00101 fmt rs2 rs1 001 rd 1010011", "fmax.fmt frd, frs1, frs2")
def fmax(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """The larger; +0 is larger than -0."""
    a, b = p.read(hart, rs1), p.read(hart, rs2)
    _choose(p, hart, rd, a, b, _less(p.format, b, a))


# Comparison


@each_precision("10100 fmt rs2 rs1 010 rd 1010011", "feq.fmt rd, frs1, frs2")
def feq(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """1 if equal, else 0; quiet."""
    hart.x[rd] = zext(hart.feq(p.read(hart, rs1), p.read(hart, rs2)), 64)


@each_precision("10100 fmt rs2 rs1 001 rd 1010011", "flt.fmt rd, frs1, frs2")
def flt(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """1 if less, else 0; signalling."""
    hart.x[rd] = zext(hart.flt(p.read(hart, rs1), p.read(hart, rs2)), 64)


@each_precision("10100 fmt rs2 rs1 000 rd 1010011", "fle.fmt rd, frs1, frs2")
def fle(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """1 if less or equal, else 0; signalling."""
    hart.x[rd] = zext(hart.fle(p.read(hart, rs1), p.read(hart, rs2)), 64)


# Sign injection and classification: on the bits alone, no flags.


@each_precision("00100 fmt rs2 rs1 000 rd 1010011", "fsgnj.fmt frd, frs1, frs2")
def fsgnj(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """rs1 with the sign of rs2."""
    sign = p.read(hart, rs2) & p.format.sign_bit
    p.write(hart, rd, p.read(hart, rs1) & p.format.magnitude_mask | sign)


@each_precision("00100 fmt rs2 rs1 001 rd 1010011", "fsgnjn.fmt frd, frs1, frs2")
def fsgnjn(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """rs1 with the opposite of the sign of rs2."""
    sign = ~p.read(hart, rs2) & p.format.sign_bit
    p.write(hart, rd, p.read(hart, rs1) & p.format.magnitude_mask | sign)


@each_precision("00100 fmt rs2 rs1 010 rd 1010011", "fsgnjx.fmt frd, frs1, frs2")
def fsgnjx(p: Precision, hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """rs1 with its sign flipped where rs2 is negative."""
    p.write(hart, rd, p.read(hart, rs1) ^ (p.read(hart, rs2) & p.format.sign_bit))


@each_precision("11100 fmt 00000 rs1 001 rd 1010011", "fclass.fmt rd, frs1")
def fclass(p: Precision, hart: Hart, rd: Any, rs1: Any) -> None:
    """One bit of ten that says what rs1 is.

    Bits 4 to 7 are +0, subnormal, normal and infinity; 3 to 0 the same when negative, which is 7 minus the
    bit's number; 8 and 9 are the signalling and the quiet NaN.
    """
    a, format = p.read(hart, rs1), p.format
    magnitude = a & format.magnitude_mask
    is_zero = zext(magnitude == 0, 64)
    is_below_normal = zext(ult(magnitude, format.smallest_normal), 64)
    is_finite = zext(ult(magnitude, format.infinity), 64)
    is_negative = (a & format.sign_bit) != 0
    number = (7 - is_zero - is_below_normal - is_finite) ^ select(is_negative, constant(7, 64), 0)
    nan = 9 - zext(_is_signalling(format, a), 64)
    hart.x[rd] = 1 << select(_is_nan(format, a), nan, number)
