# SPDX-License-Identifier: Apache-2.0
"""RV64I: loads, stores and the memory fence.

Spec: riscv-unpriv 20240411, 2.6 and 4.3 "Load and Store Instructions", 2.7 "Memory Ordering Instructions".
"""

from __future__ import annotations

from typing import Any

from innkeeper.ir.value import Value, sext, trunc, zext
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart


@instruction("imm[11:0] rs1 000 rd 0000011", "lb rd, imm(rs1)", extension="I")
def lb(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Load 8 bits, sign-extended."""
    hart.x[rd] = sext(hart.load(hart.x[rs1] + imm, 8), 64)


@instruction("imm[11:0] rs1 001 rd 0000011", "lh rd, imm(rs1)", extension="I")
def lh(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Load 16 bits, sign-extended."""
    hart.x[rd] = sext(hart.load(hart.x[rs1] + imm, 16), 64)


@instruction("imm[11:0] rs1 010 rd 0000011", "lw rd, imm(rs1)", extension="I")
def lw(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Load 32 bits, sign-extended."""
    hart.x[rd] = sext(hart.load(hart.x[rs1] + imm, 32), 64)


@instruction("imm[11:0] rs1 011 rd 0000011", "ld rd, imm(rs1)", extension="I")
def ld(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Load 64 bits."""
    hart.x[rd] = hart.load(hart.x[rs1] + imm, 64)


@instruction("imm[11:0] rs1 100 rd 0000011", "lbu rd, imm(rs1)", extension="I")
def lbu(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Load 8 bits, zero-extended."""
    hart.x[rd] = zext(hart.load(hart.x[rs1] + imm, 8), 64)


@instruction("imm[11:0] rs1 101 rd 0000011", "lhu rd, imm(rs1)", extension="I")
def lhu(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Load 16 bits, zero-extended."""
    hart.x[rd] = zext(hart.load(hart.x[rs1] + imm, 16), 64)


@instruction("imm[11:0] rs1 110 rd 0000011", "lwu rd, imm(rs1)", extension="I")
def lwu(hart: Hart, rd: Any, rs1: Any, imm: Value) -> None:
    """Load 32 bits, zero-extended."""
    hart.x[rd] = zext(hart.load(hart.x[rs1] + imm, 32), 64)


@instruction("imm[11:5] rs2 rs1 000 imm[4:0] 0100011", "sb rs2, imm(rs1)", extension="I")
def sb(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Store 8 bits."""
    hart.store(hart.x[rs1] + imm, trunc(hart.x[rs2], 8))


@instruction("imm[11:5] rs2 rs1 001 imm[4:0] 0100011", "sh rs2, imm(rs1)", extension="I")
def sh(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Store 16 bits."""
    hart.store(hart.x[rs1] + imm, trunc(hart.x[rs2], 16))


@instruction("imm[11:5] rs2 rs1 010 imm[4:0] 0100011", "sw rs2, imm(rs1)", extension="I")
def sw(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Store 32 bits."""
    hart.store(hart.x[rs1] + imm, trunc(hart.x[rs2], 32))


@instruction("imm[11:5] rs2 rs1 011 imm[4:0] 0100011", "sd rs2, imm(rs1)", extension="I")
def sd(hart: Hart, rs1: Any, rs2: Any, imm: Value) -> None:
    """Store 64 bits."""
    hart.store(hart.x[rs1] + imm, hart.x[rs2])


@instruction("fm pred succ rs1 000 rd 0001111", "fence pred, succ", extension="I")
def fence(hart: Hart, pred: Value, succ: Value) -> None:
    """Order memory accesses.

    rd, rs1 and reserved values of fm are ignored, and fence.tso may be as strong as it likes, as the manual
    asks of a simple implementation. `pause` (Zihintpause) is the encoding pred=w, succ=0: a fence that orders
    nothing.

    Spec: riscv-unpriv 20240411, 2.7 "Memory Ordering Instructions"; Zihintpause
    """
    hart.fence(pred, succ)
