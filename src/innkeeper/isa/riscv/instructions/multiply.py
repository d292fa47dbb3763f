# SPDX-License-Identifier: Apache-2.0
"""M: integer multiplication and division. Division never traps; `ir.value` says what it gives by zero.

Spec: riscv-unpriv 20240411, "M" Extension for Integer Multiplication and Division.
"""

from __future__ import annotations

from typing import Any

from innkeeper.ir.value import sdiv, sext, srem, trunc, udiv, urem, zext
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart


@instruction("0000001 rs2 rs1 000 rd 0110011", "mul rd, rs1, rs2", extension="M")
def mul(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Low 64 bits of the product."""
    hart.x[rd] = hart.x[rs1] * hart.x[rs2]


@instruction("0000001 rs2 rs1 001 rd 0110011", "mulh rd, rs1, rs2", extension="M")
def mulh(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """High 64 bits of the signed product."""
    hart.x[rd] = trunc(sext(hart.x[rs1], 128) * sext(hart.x[rs2], 128) >> 64, 64)


@instruction("0000001 rs2 rs1 010 rd 0110011", "mulhsu rd, rs1, rs2", extension="M")
def mulhsu(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """High 64 bits of the product of rs1 with sign and rs2 without."""
    hart.x[rd] = trunc(sext(hart.x[rs1], 128) * zext(hart.x[rs2], 128) >> 64, 64)


@instruction("0000001 rs2 rs1 011 rd 0110011", "mulhu rd, rs1, rs2", extension="M")
def mulhu(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """High 64 bits of the product without sign."""
    hart.x[rd] = trunc(zext(hart.x[rs1], 128) * zext(hart.x[rs2], 128) >> 64, 64)


@instruction("0000001 rs2 rs1 100 rd 0110011", "div rd, rs1, rs2", extension="M")
def div(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Signed quotient; -1 by zero, the dividend on overflow."""
    hart.x[rd] = sdiv(hart.x[rs1], hart.x[rs2])


@instruction("0000001 rs2 rs1 101 rd 0110011", "divu rd, rs1, rs2", extension="M")
def divu(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Quotient without sign; all ones by zero."""
    hart.x[rd] = udiv(hart.x[rs1], hart.x[rs2])


@instruction("0000001 rs2 rs1 110 rd 0110011", "rem rd, rs1, rs2", extension="M")
def rem(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Signed remainder; the dividend by zero, 0 on overflow."""
    hart.x[rd] = srem(hart.x[rs1], hart.x[rs2])


@instruction("0000001 rs2 rs1 111 rd 0110011", "remu rd, rs1, rs2", extension="M")
def remu(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Remainder without sign; the dividend by zero."""
    hart.x[rd] = urem(hart.x[rs1], hart.x[rs2])


@instruction("0000001 rs2 rs1 000 rd 0111011", "mulw rd, rs1, rs2", extension="M")
def mulw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Low 32 bits of the product, sign-extended."""
    hart.x[rd] = sext(trunc(hart.x[rs1], 32) * trunc(hart.x[rs2], 32), 64)


@instruction("0000001 rs2 rs1 100 rd 0111011", "divw rd, rs1, rs2", extension="M")
def divw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Signed quotient of 32 bits, sign-extended."""
    hart.x[rd] = sext(sdiv(trunc(hart.x[rs1], 32), trunc(hart.x[rs2], 32)), 64)


@instruction("0000001 rs2 rs1 101 rd 0111011", "divuw rd, rs1, rs2", extension="M")
def divuw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Quotient without sign of 32 bits, sign-extended."""
    hart.x[rd] = sext(udiv(trunc(hart.x[rs1], 32), trunc(hart.x[rs2], 32)), 64)


@instruction("0000001 rs2 rs1 110 rd 0111011", "remw rd, rs1, rs2", extension="M")
def remw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Signed remainder of 32 bits, sign-extended."""
    hart.x[rd] = sext(srem(trunc(hart.x[rs1], 32), trunc(hart.x[rs2], 32)), 64)


@instruction("0000001 rs2 rs1 111 rd 0111011", "remuw rd, rs1, rs2", extension="M")
def remuw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Remainder without sign of 32 bits, sign-extended."""
    hart.x[rd] = sext(urem(trunc(hart.x[rs1], 32), trunc(hart.x[rs2], 32)), 64)
