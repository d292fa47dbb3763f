# SPDX-License-Identifier: Apache-2.0
"""Zbs: single bits.

Spec: riscv-unpriv 20240411, "B" Standard Extension for Bit Manipulation, Zbs.
"""

from __future__ import annotations

from typing import Any

from innkeeper.ir.value import Value
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart


@instruction("0100100 rs2 rs1 001 rd 0110011", "bclr rd, rs1, rs2", extension="Zbs")
def bclr(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Clear the bit that the low 6 bits of rs2 name."""
    hart.x[rd] = hart.x[rs1] & ~(1 << hart.x[rs2])


@instruction("010010 shamt[5:0] rs1 001 rd 0010011", "bclri rd, rs1, shamt", extension="Zbs")
def bclri(hart: Hart, rd: Any, rs1: Any, shamt: Value) -> None:
    """Clear the bit that the immediate names."""
    hart.x[rd] = hart.x[rs1] & ~(1 << shamt)


@instruction("0110100 rs2 rs1 001 rd 0110011", "binv rd, rs1, rs2", extension="Zbs")
def binv(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Invert the bit that the low 6 bits of rs2 name."""
    hart.x[rd] = hart.x[rs1] ^ (1 << hart.x[rs2])


@instruction("011010 shamt[5:0] rs1 001 rd 0010011", "binvi rd, rs1, shamt", extension="Zbs")
def binvi(hart: Hart, rd: Any, rs1: Any, shamt: Value) -> None:
    """Invert the bit that the immediate names."""
    hart.x[rd] = hart.x[rs1] ^ (1 << shamt)


@instruction("0010100 rs2 rs1 001 rd 0110011", "bset rd, rs1, rs2", extension="Zbs")
def bset(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Set the bit that the low 6 bits of rs2 name."""
    hart.x[rd] = hart.x[rs1] | (1 << hart.x[rs2])


@instruction("001010 shamt[5:0] rs1 001 rd 0010011", "bseti rd, rs1, shamt", extension="Zbs")
def bseti(hart: Hart, rd: Any, rs1: Any, shamt: Value) -> None:
    """Set the bit that the immediate names."""
    hart.x[rd] = hart.x[rs1] | (1 << shamt)


@instruction("0100100 rs2 rs1 101 rd 0110011", "bext rd, rs1, rs2", extension="Zbs")
def bext(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """The bit that the low 6 bits of rs2 name."""
    hart.x[rd] = (hart.x[rs1] >> hart.x[rs2]) & 1


@instruction("010010 shamt[5:0] rs1 101 rd 0010011", "bexti rd, rs1, shamt", extension="Zbs")
def bexti(hart: Hart, rd: Any, rs1: Any, shamt: Value) -> None:
    """The bit that the immediate names."""
    hart.x[rd] = (hart.x[rs1] >> shamt) & 1
