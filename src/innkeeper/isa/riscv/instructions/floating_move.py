# SPDX-License-Identifier: Apache-2.0
"""F and D: conversions between formats, moves to and from x registers, loads and stores.

Every conversion treats rm as usual, even where it is exact and rm changes nothing.

Spec: riscv-unpriv 20240411, "F" Extension for Single-Precision Floating-Point, "D" Extension
"""

from __future__ import annotations

from typing import Any

from innkeeper.ir.value import Value, sext, trunc
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart, Rounding
from innkeeper.isa.riscv.instructions.floating import D, Precision, S, each_precision

# Float to integer. Results of 32 bits are sign-extended, those without sign too.


@each_precision("11000 fmt 00000 rs1 rm rd 1010011", "fcvt.w.fmt rd, frs1, rm")
def fcvt_w(p: Precision, hart: Hart, rd: Any, rs1: Any, rm: Rounding) -> None:
    """To a signed integer of 32 bits."""
    hart.x[rd] = sext(hart.float_to_int(p.read(hart, rs1), 32, True, rm), 64)


@each_precision("11000 fmt 00001 rs1 rm rd 1010011", "fcvt.wu.fmt rd, frs1, rm")
def fcvt_wu(p: Precision, hart: Hart, rd: Any, rs1: Any, rm: Rounding) -> None:
    """To an integer of 32 bits without sign."""
    hart.x[rd] = sext(hart.float_to_int(p.read(hart, rs1), 32, False, rm), 64)


@each_precision("11000 fmt 00010 rs1 rm rd 1010011", "fcvt.l.fmt rd, frs1, rm")
def fcvt_l(p: Precision, hart: Hart, rd: Any, rs1: Any, rm: Rounding) -> None:
    """To a signed integer of 64 bits."""
    hart.x[rd] = hart.float_to_int(p.read(hart, rs1), 64, True, rm)


@each_precision("11000 fmt 00011 rs1 rm rd 1010011", "fcvt.lu.fmt rd, frs1, rm")
def fcvt_lu(p: Precision, hart: Hart, rd: Any, rs1: Any, rm: Rounding) -> None:
    """To an integer of 64 bits without sign."""
    hart.x[rd] = hart.float_to_int(p.read(hart, rs1), 64, False, rm)


# Integer to float


@each_precision("11010 fmt 00000 rs1 rm rd 1010011", "fcvt.fmt.w frd, rs1, rm")
def fcvt_from_w(p: Precision, hart: Hart, rd: Any, rs1: Any, rm: Rounding) -> None:
    """From a signed integer of 32 bits."""
    p.write(hart, rd, hart.int_to_float(trunc(hart.x[rs1], 32), True, p.format.width, rm))


@each_precision("11010 fmt 00001 rs1 rm rd 1010011", "fcvt.fmt.wu frd, rs1, rm")
def fcvt_from_wu(p: Precision, hart: Hart, rd: Any, rs1: Any, rm: Rounding) -> None:
    """From an integer of 32 bits without sign."""
    p.write(hart, rd, hart.int_to_float(trunc(hart.x[rs1], 32), False, p.format.width, rm))


@each_precision("11010 fmt 00010 rs1 rm rd 1010011", "fcvt.fmt.l frd, rs1, rm")
def fcvt_from_l(p: Precision, hart: Hart, rd: Any, rs1: Any, rm: Rounding) -> None:
    """From a signed integer of 64 bits."""
    p.write(hart, rd, hart.int_to_float(hart.x[rs1], True, p.format.width, rm))


@each_precision("11010 fmt 00011 rs1 rm rd 1010011", "fcvt.fmt.lu frd, rs1, rm")
def fcvt_from_lu(p: Precision, hart: Hart, rd: Any, rs1: Any, rm: Rounding) -> None:
    """From an integer of 64 bits without sign."""
    p.write(hart, rd, hart.int_to_float(hart.x[rs1], False, p.format.width, rm))


# Float to float


@instruction("01000 00 00001 rs1 rm rd 1010011", "fcvt.s.d frd, frs1, rm", extension="D")
def fcvt_s_d(hart: Hart, rd: Any, rs1: Any, rm: Rounding) -> None:
    """Single from double."""
    S.write(hart, rd, hart.float_to_float(D.read(hart, rs1), 32, rm))


@instruction("01000 01 00000 rs1 rm rd 1010011", "fcvt.d.s frd, frs1, rm", extension="D")
def fcvt_d_s(hart: Hart, rd: Any, rs1: Any, rm: Rounding) -> None:
    """Double from single; exact."""
    D.write(hart, rd, hart.float_to_float(S.read(hart, rs1), 64, rm))


# Moves of raw bits: of a single its low 32 bits, boxed or not.


@each_precision("11100 fmt 00000 rs1 000 rd 1010011", "fmv.x.size rd, frs1")
def fmv_to_x(p: Precision, hart: Hart, rd: Any, rs1: Any) -> None:
    """To an x register, sign-extended."""
    hart.x[rd] = sext(trunc(hart.f[rs1], p.format.width), 64)


@each_precision("11110 fmt 00000 rs1 000 rd 1010011", "fmv.size.x frd, rs1")
def fmv_from_x(p: Precision, hart: Hart, rd: Any, rs1: Any) -> None:
    """From an x register."""
    p.write(hart, rd, trunc(hart.x[rs1], p.format.width))


# Loads and stores: raw bits too, so a store writes the low bits of whatever the register holds.


@instruction("imm[11:0] rs1 010 rd 0000111", "flw frd, imm(rs1)", extension="F")
def flw(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Load a single."""
    S.write(hart, rd, hart.load(hart.x[rs1] + imm, 32))


@instruction("imm[11:0] rs1 011 rd 0000111", "fld frd, imm(rs1)", extension="D")
def fld(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Load a double."""
    D.write(hart, rd, hart.load(hart.x[rs1] + imm, 64))


@instruction("imm[11:5] rs2 rs1 010 imm[4:0] 0100111", "fsw frs2, imm(rs1)", extension="F")
def fsw(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Store a single."""
    hart.store(hart.x[rs1] + imm, trunc(hart.f[rs2], 32))


@instruction("imm[11:5] rs2 rs1 011 imm[4:0] 0100111", "fsd frs2, imm(rs1)", extension="D")
def fsd(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Store a double."""
    hart.store(hart.x[rs1] + imm, hart.f[rs2])
