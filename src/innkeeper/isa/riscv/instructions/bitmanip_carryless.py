# SPDX-License-Identifier: Apache-2.0
"""Zbc: carry-less multiplication.

Spec: riscv-unpriv 20240411, "B" Standard Extension for Bit Manipulation, Zbc.
"""

from __future__ import annotations

from typing import Any

from innkeeper.ir.value import Value, byte_swap
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart

_EVERY_FOURTH = 0x1111111111111111


def _multiply(a: Value, b: Value) -> Value:
    """Low 64 bits of the carry-less product, by 16 ordinary multiplications.

    With only every fourth bit set in both factors, a column sums at most 16 ones. Sums up to 15 stay in the
    three empty bits above the column; 16 happens in the last column only, whose carry leaves the word.
    """
    a_parts = [a & (_EVERY_FOURTH << i) for i in range(4)]
    b_parts = [b & (_EVERY_FOURTH << i) for i in range(4)]
    columns = []
    for k in range(4):
        total = a_parts[0] * b_parts[k]
        for i in range(1, 4):
            total = total ^ a_parts[i] * b_parts[(k - i) % 4]
        columns.append(total & (_EVERY_FOURTH << k))
    return columns[0] | columns[1] | columns[2] | columns[3]


def _reverse(a: Value) -> Value:
    """The 64 bits in opposite order."""
    a = byte_swap(a)
    for shift, mask in ((4, 0x0F0F0F0F0F0F0F0F), (2, 0x3333333333333333), (1, 0x5555555555555555)):
        a = (a >> shift) & mask | (a & mask) << shift
    return a


@instruction("0000101 rs2 rs1 001 rd 0110011", "clmul rd, rs1, rs2", extension="Zbc")
def clmul(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Low 64 bits of the carry-less product."""
    hart.x[rd] = _multiply(hart.x[rs1], hart.x[rs2])


@instruction("0000101 rs2 rs1 010 rd 0110011", "clmulr rd, rs1, rs2", extension="Zbc")
def clmulr(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Bits 126 to 63 of the carry-less product: the product of the reversed factors, reversed."""
    hart.x[rd] = _reverse(_multiply(_reverse(hart.x[rs1]), _reverse(hart.x[rs2])))


@instruction("0000101 rs2 rs1 011 rd 0110011", "clmulh rd, rs1, rs2", extension="Zbc")
def clmulh(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """High 64 bits of the carry-less product, bit 127 of which is 0."""
    hart.x[rd] = _reverse(_multiply(_reverse(hart.x[rs1]), _reverse(hart.x[rs2]))) >> 1
