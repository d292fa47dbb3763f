# SPDX-License-Identifier: Apache-2.0
"""Zicond: conditional zeroing.

Spec: riscv-unpriv 20240411, "Zicond" Extension for Integer Conditional Operations.
"""

from __future__ import annotations

from typing import Any

from innkeeper.ir.value import select
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart


@instruction("0000111 rs2 rs1 101 rd 0110011", "czero.eqz rd, rs1, rs2", extension="Zicond")
def czero_eqz(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Zero if rs2 is zero, else rs1."""
    hart.x[rd] = select(hart.x[rs2] == 0, 0, hart.x[rs1])


@instruction("0000111 rs2 rs1 111 rd 0110011", "czero.nez rd, rs1, rs2", extension="Zicond")
def czero_nez(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Zero if rs2 is not zero, else rs1."""
    hart.x[rd] = select(hart.x[rs2] != 0, 0, hart.x[rs1])
