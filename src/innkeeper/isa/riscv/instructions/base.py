# SPDX-License-Identifier: Apache-2.0
"""RV64I: integer computation. Jumps and branches are in `control`, memory accesses in `memory`.

Spec: riscv-unpriv 20240411, 2.4 "Integer Computational Instructions" and 4.2 (the same for RV64I).
"""

from __future__ import annotations

from typing import Any

from innkeeper.ir.value import Value, sext, slt, sra, trunc, ult, zext
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart


@instruction("imm[11:0] rs1 000 rd 0010011", "addi rd, rs1, imm", extension="I")
def addi(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Add the immediate."""
    hart.x[rd] = hart.x[rs1] + imm


@instruction("imm[11:0] rs1 010 rd 0010011", "slti rd, rs1, imm", extension="I")
def slti(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """1 if less than the immediate, signed."""
    hart.x[rd] = zext(slt(hart.x[rs1], imm), 64)


@instruction("imm[11:0] rs1 011 rd 0010011", "sltiu rd, rs1, imm", extension="I")
def sltiu(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """1 if less than the sign-extended immediate, both taken without sign."""
    hart.x[rd] = zext(ult(hart.x[rs1], imm), 64)


@instruction("imm[11:0] rs1 100 rd 0010011", "xori rd, rs1, imm", extension="I")
def xori(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Exclusive or with the immediate."""
    hart.x[rd] = hart.x[rs1] ^ imm


@instruction("imm[11:0] rs1 110 rd 0010011", "ori rd, rs1, imm", extension="I")
def ori(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Or with the immediate. With rd = x0 also the prefetch hints of Zicbop."""
    hart.x[rd] = hart.x[rs1] | imm


@instruction("imm[11:0] rs1 111 rd 0010011", "andi rd, rs1, imm", extension="I")
def andi(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """And with the immediate."""
    hart.x[rd] = hart.x[rs1] & imm


@instruction("000000 shamt[5:0] rs1 001 rd 0010011", "slli rd, rs1, shamt", extension="I")
def slli(hart: Hart, rd: Any, rs1: Any, shamt: Value) -> None:
    """Shift left by a constant."""
    hart.x[rd] = hart.x[rs1] << shamt


@instruction("000000 shamt[5:0] rs1 101 rd 0010011", "srli rd, rs1, shamt", extension="I")
def srli(hart: Hart, rd: Any, rs1: Any, shamt: Value) -> None:
    """Logical shift right by a constant."""
    hart.x[rd] = hart.x[rs1] >> shamt


@instruction("010000 shamt[5:0] rs1 101 rd 0010011", "srai rd, rs1, shamt", extension="I")
def srai(hart: Hart, rd: Any, rs1: Any, shamt: Value) -> None:
    """Arithmetic shift right by a constant."""
    hart.x[rd] = sra(hart.x[rs1], shamt)


@instruction("imm[31:12] rd 0110111", "lui rd, imm>>12", extension="I")
def lui(hart: Hart, rd: Any, imm: Value) -> None:
    """The upper immediate, sign-extended."""
    hart.x[rd] = imm


@instruction("imm[31:12] rd 0010111", "auipc rd, imm>>12", extension="I")
def auipc(hart: Hart, rd: Any, imm: Value) -> None:
    """pc plus the upper immediate."""
    hart.x[rd] = hart.pc + imm


@instruction("0000000 rs2 rs1 000 rd 0110011", "add rd, rs1, rs2", extension="I")
def add(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Add, ignoring overflow."""
    hart.x[rd] = hart.x[rs1] + hart.x[rs2]


@instruction("0100000 rs2 rs1 000 rd 0110011", "sub rd, rs1, rs2", extension="I")
def sub(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Subtract, ignoring overflow."""
    hart.x[rd] = hart.x[rs1] - hart.x[rs2]


@instruction("0000000 rs2 rs1 001 rd 0110011", "sll rd, rs1, rs2", extension="I")
def sll(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Shift left by the low 6 bits of rs2."""
    hart.x[rd] = hart.x[rs1] << hart.x[rs2]


@instruction("0000000 rs2 rs1 010 rd 0110011", "slt rd, rs1, rs2", extension="I")
def slt_(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """1 if less than, signed."""
    hart.x[rd] = zext(slt(hart.x[rs1], hart.x[rs2]), 64)


@instruction("0000000 rs2 rs1 011 rd 0110011", "sltu rd, rs1, rs2", extension="I")
def sltu(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """1 if less than, without sign."""
    hart.x[rd] = zext(ult(hart.x[rs1], hart.x[rs2]), 64)


@instruction("0000000 rs2 rs1 100 rd 0110011", "xor rd, rs1, rs2", extension="I")
def xor(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Exclusive or."""
    hart.x[rd] = hart.x[rs1] ^ hart.x[rs2]


@instruction("0000000 rs2 rs1 101 rd 0110011", "srl rd, rs1, rs2", extension="I")
def srl(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Logical shift right by the low 6 bits of rs2."""
    hart.x[rd] = hart.x[rs1] >> hart.x[rs2]


@instruction("0100000 rs2 rs1 101 rd 0110011", "sra rd, rs1, rs2", extension="I")
def sra_(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Arithmetic shift right by the low 6 bits of rs2."""
    hart.x[rd] = sra(hart.x[rs1], hart.x[rs2])


@instruction("0000000 rs2 rs1 110 rd 0110011", "or rd, rs1, rs2", extension="I")
def or_(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Or."""
    hart.x[rd] = hart.x[rs1] | hart.x[rs2]


@instruction("0000000 rs2 rs1 111 rd 0110011", "and rd, rs1, rs2", extension="I")
def and_(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """And."""
    hart.x[rd] = hart.x[rs1] & hart.x[rs2]


@instruction("imm[11:0] rs1 000 rd 0011011", "addiw rd, rs1, imm", extension="I")
def addiw(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Add the immediate in 32 bits, sign-extended."""
    hart.x[rd] = sext(trunc(hart.x[rs1], 32) + trunc(imm, 32), 64)


@instruction("0000000 shamt[4:0] rs1 001 rd 0011011", "slliw rd, rs1, shamt", extension="I")
def slliw(hart: Hart, rd: Any, rs1: Any, shamt: Value) -> None:
    """Shift 32 bits left by a constant, sign-extended."""
    hart.x[rd] = sext(trunc(hart.x[rs1], 32) << trunc(shamt, 32), 64)


@instruction("0000000 shamt[4:0] rs1 101 rd 0011011", "srliw rd, rs1, shamt", extension="I")
def srliw(hart: Hart, rd: Any, rs1: Any, shamt: Value) -> None:
    """Logical shift right of 32 bits by a constant, sign-extended."""
    hart.x[rd] = sext(trunc(hart.x[rs1], 32) >> trunc(shamt, 32), 64)


@instruction("0100000 shamt[4:0] rs1 101 rd 0011011", "sraiw rd, rs1, shamt", extension="I")
def sraiw(hart: Hart, rd: Any, rs1: Any, shamt: Value) -> None:
    """Arithmetic shift right of 32 bits by a constant, sign-extended."""
    hart.x[rd] = sext(sra(trunc(hart.x[rs1], 32), trunc(shamt, 32)), 64)


@instruction("0000000 rs2 rs1 000 rd 0111011", "addw rd, rs1, rs2", extension="I")
def addw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Add in 32 bits, sign-extended."""
    hart.x[rd] = sext(trunc(hart.x[rs1], 32) + trunc(hart.x[rs2], 32), 64)


@instruction("0100000 rs2 rs1 000 rd 0111011", "subw rd, rs1, rs2", extension="I")
def subw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Subtract in 32 bits, sign-extended."""
    hart.x[rd] = sext(trunc(hart.x[rs1], 32) - trunc(hart.x[rs2], 32), 64)


@instruction("0000000 rs2 rs1 001 rd 0111011", "sllw rd, rs1, rs2", extension="I")
def sllw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Shift 32 bits left by the low 5 bits of rs2, sign-extended."""
    hart.x[rd] = sext(trunc(hart.x[rs1], 32) << trunc(hart.x[rs2], 32), 64)


@instruction("0000000 rs2 rs1 101 rd 0111011", "srlw rd, rs1, rs2", extension="I")
def srlw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Logical shift right of 32 bits by the low 5 bits of rs2, sign-extended."""
    hart.x[rd] = sext(trunc(hart.x[rs1], 32) >> trunc(hart.x[rs2], 32), 64)


@instruction("0100000 rs2 rs1 101 rd 0111011", "sraw rd, rs1, rs2", extension="I")
def sraw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Arithmetic shift right of 32 bits by the low 5 bits of rs2, sign-extended."""
    hart.x[rd] = sext(sra(trunc(hart.x[rs1], 32), trunc(hart.x[rs2], 32)), 64)
