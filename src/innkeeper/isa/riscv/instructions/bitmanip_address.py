# SPDX-License-Identifier: Apache-2.0
"""Zba: address generation.

Spec: riscv-unpriv 20240411, "B" Standard Extension for Bit Manipulation, Zba.
"""

from __future__ import annotations

from typing import Any

from innkeeper.ir.value import Value, trunc, zext
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart


@instruction("0010000 rs2 rs1 010 rd 0110011", "sh1add rd, rs1, rs2", extension="Zba")
def sh1add(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """rs1 shifted left by 1, plus rs2."""
    hart.x[rd] = (hart.x[rs1] << 1) + hart.x[rs2]


@instruction("0010000 rs2 rs1 100 rd 0110011", "sh2add rd, rs1, rs2", extension="Zba")
def sh2add(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """rs1 shifted left by 2, plus rs2."""
    hart.x[rd] = (hart.x[rs1] << 2) + hart.x[rs2]


@instruction("0010000 rs2 rs1 110 rd 0110011", "sh3add rd, rs1, rs2", extension="Zba")
def sh3add(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """rs1 shifted left by 3, plus rs2."""
    hart.x[rd] = (hart.x[rs1] << 3) + hart.x[rs2]


@instruction("0000100 rs2 rs1 000 rd 0111011", "add.uw rd, rs1, rs2", extension="Zba")
def add_uw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Low 32 bits of rs1, zero-extended, plus rs2."""
    hart.x[rd] = zext(trunc(hart.x[rs1], 32), 64) + hart.x[rs2]


@instruction("0010000 rs2 rs1 010 rd 0111011", "sh1add.uw rd, rs1, rs2", extension="Zba")
def sh1add_uw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Low 32 bits of rs1, zero-extended and shifted left by 1, plus rs2."""
    hart.x[rd] = (zext(trunc(hart.x[rs1], 32), 64) << 1) + hart.x[rs2]


@instruction("0010000 rs2 rs1 100 rd 0111011", "sh2add.uw rd, rs1, rs2", extension="Zba")
def sh2add_uw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Low 32 bits of rs1, zero-extended and shifted left by 2, plus rs2."""
    hart.x[rd] = (zext(trunc(hart.x[rs1], 32), 64) << 2) + hart.x[rs2]


@instruction("0010000 rs2 rs1 110 rd 0111011", "sh3add.uw rd, rs1, rs2", extension="Zba")
def sh3add_uw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Low 32 bits of rs1, zero-extended and shifted left by 3, plus rs2."""
    hart.x[rd] = (zext(trunc(hart.x[rs1], 32), 64) << 3) + hart.x[rs2]


@instruction("000010 shamt[5:0] rs1 001 rd 0011011", "slli.uw rd, rs1, shamt", extension="Zba")
def slli_uw(hart: Hart, rd: Any, rs1: Any, shamt: Value) -> None:
    """Low 32 bits of rs1, zero-extended, shifted left by a constant."""
    hart.x[rd] = zext(trunc(hart.x[rs1], 32), 64) << shamt
