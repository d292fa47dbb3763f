# SPDX-License-Identifier: Apache-2.0
"""RV64I: integer computation, control transfer, loads and stores.

Spec: riscv-unpriv 20240411, chapters 2 and 4.
"""

from __future__ import annotations

from typing import Any

from innkeeper.ir.value import Value, sext
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart


@instruction("imm[11:0] rs1 000 rd 0010011", "addi rd, rs1, imm", extension="I")
def addi(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Add the immediate."""
    hart.x[rd] = hart.x[rs1] + imm


@instruction("0000000 rs2 rs1 000 rd 0110011", "add rd, rs1, rs2", extension="I")
def add(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Add, ignoring overflow."""
    hart.x[rd] = hart.x[rs1] + hart.x[rs2]


@instruction("imm[31:12] rd 0010111", "auipc rd, imm", extension="I")
def auipc(hart: Hart, rd: Any, imm: Value) -> None:
    """pc plus the upper immediate."""
    hart.x[rd] = hart.pc + imm


@instruction("imm[20|10:1|11|19:12] rd 1101111", "jal rd, imm", extension="I")
def jal(hart: Hart, rd: Any, imm: Value) -> None:
    """Jump, link in rd."""
    target = hart.pc + imm
    hart.x[rd] = hart.next_pc
    hart.jump(target)


@instruction("imm[11:0] rs1 000 rd 1100111", "jalr rd, imm(rs1)", extension="I")
def jalr(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Jump to a register plus immediate, bit 0 cleared; link in rd."""
    target = (hart.x[rs1] + imm) & ~1
    hart.x[rd] = hart.next_pc
    hart.jump(target)


@instruction("imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011", "beq rs1, rs2, imm", extension="I")
def beq(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Branch if equal."""
    hart.branch(hart.x[rs1] == hart.x[rs2], hart.pc + imm)


@instruction("imm[11:0] rs1 011 rd 0000011", "ld rd, imm(rs1)", extension="I")
def ld(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Load 64 bits."""
    hart.x[rd] = hart.load(hart.x[rs1] + imm, 64)


@instruction("imm[11:0] rs1 010 rd 0000011", "lw rd, imm(rs1)", extension="I")
def lw(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Load 32 bits, sign-extended."""
    hart.x[rd] = sext(hart.load(hart.x[rs1] + imm, 32), 64)


@instruction("imm[11:5] rs2 rs1 011 imm[4:0] 0100011", "sd rs2, imm(rs1)", extension="I")
def sd(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Store 64 bits."""
    hart.store(hart.x[rs1] + imm, hart.x[rs2])
