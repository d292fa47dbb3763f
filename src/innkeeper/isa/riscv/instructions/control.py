# SPDX-License-Identifier: Apache-2.0
"""RV64I: jumps and branches.

A target is never misaligned: with C every even address is one, so none of these traps.

Spec: riscv-unpriv 20240411, 2.5 "Control Transfer Instructions".
"""

from __future__ import annotations

from typing import Any

from innkeeper.ir.value import Value, slt, ult
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart


@instruction("imm[20|10:1|11|19:12] rd 1101111", "jal rd, pc+imm", extension="I")
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


@instruction("imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011", "beq rs1, rs2, pc+imm", extension="I")
def beq(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Branch if equal."""
    hart.branch(hart.x[rs1] == hart.x[rs2], hart.pc + imm)


@instruction("imm[12|10:5] rs2 rs1 001 imm[4:1|11] 1100011", "bne rs1, rs2, pc+imm", extension="I")
def bne(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Branch if not equal."""
    hart.branch(hart.x[rs1] != hart.x[rs2], hart.pc + imm)


@instruction("imm[12|10:5] rs2 rs1 100 imm[4:1|11] 1100011", "blt rs1, rs2, pc+imm", extension="I")
def blt(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Branch if less than, signed."""
    hart.branch(slt(hart.x[rs1], hart.x[rs2]), hart.pc + imm)


@instruction("imm[12|10:5] rs2 rs1 101 imm[4:1|11] 1100011", "bge rs1, rs2, pc+imm", extension="I")
def bge(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Branch if greater or equal, signed."""
    hart.branch(~slt(hart.x[rs1], hart.x[rs2]), hart.pc + imm)


@instruction("imm[12|10:5] rs2 rs1 110 imm[4:1|11] 1100011", "bltu rs1, rs2, pc+imm", extension="I")
def bltu(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Branch if less than, without sign."""
    hart.branch(ult(hart.x[rs1], hart.x[rs2]), hart.pc + imm)


@instruction("imm[12|10:5] rs2 rs1 111 imm[4:1|11] 1100011", "bgeu rs1, rs2, pc+imm", extension="I")
def bgeu(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Branch if greater or equal, without sign."""
    hart.branch(~ult(hart.x[rs1], hart.x[rs2]), hart.pc + imm)
