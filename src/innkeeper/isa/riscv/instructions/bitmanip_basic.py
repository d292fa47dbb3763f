# SPDX-License-Identifier: Apache-2.0
"""Zbb: basic bit manipulation.

Spec: riscv-unpriv 20240411, "B" Standard Extension for Bit Manipulation, Zbb.
"""

from __future__ import annotations

from typing import Any

from innkeeper.ir.value import Value, byte_swap, clz, ctz, popcount, select, sext, slt, trunc, ult, zext
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart


@instruction("0100000 rs2 rs1 111 rd 0110011", "andn rd, rs1, rs2", extension="Zbb")
def andn(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """And with the complement of rs2."""
    hart.x[rd] = hart.x[rs1] & ~hart.x[rs2]


@instruction("0100000 rs2 rs1 110 rd 0110011", "orn rd, rs1, rs2", extension="Zbb")
def orn(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Or with the complement of rs2."""
    hart.x[rd] = hart.x[rs1] | ~hart.x[rs2]


@instruction("0100000 rs2 rs1 100 rd 0110011", "xnor rd, rs1, rs2", extension="Zbb")
def xnor(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Complement of the exclusive or."""
    hart.x[rd] = ~(hart.x[rs1] ^ hart.x[rs2])


@instruction("011000000000 rs1 001 rd 0010011", "clz rd, rs1", extension="Zbb")
def clz_(hart: Hart, rd: Any, rs1: Any) -> None:
    """Count leading zeros; 64 for 0."""
    hart.x[rd] = clz(hart.x[rs1])


@instruction("011000000000 rs1 001 rd 0011011", "clzw rd, rs1", extension="Zbb")
def clzw(hart: Hart, rd: Any, rs1: Any) -> None:
    """Count leading zeros of the low 32 bits; 32 for 0."""
    hart.x[rd] = zext(clz(trunc(hart.x[rs1], 32)), 64)


@instruction("011000000001 rs1 001 rd 0010011", "ctz rd, rs1", extension="Zbb")
def ctz_(hart: Hart, rd: Any, rs1: Any) -> None:
    """Count trailing zeros; 64 for 0."""
    hart.x[rd] = ctz(hart.x[rs1])


@instruction("011000000001 rs1 001 rd 0011011", "ctzw rd, rs1", extension="Zbb")
def ctzw(hart: Hart, rd: Any, rs1: Any) -> None:
    """Count trailing zeros of the low 32 bits; 32 for 0."""
    hart.x[rd] = zext(ctz(trunc(hart.x[rs1], 32)), 64)


@instruction("011000000010 rs1 001 rd 0010011", "cpop rd, rs1", extension="Zbb")
def cpop(hart: Hart, rd: Any, rs1: Any) -> None:
    """Count ones."""
    hart.x[rd] = popcount(hart.x[rs1])


@instruction("011000000010 rs1 001 rd 0011011", "cpopw rd, rs1", extension="Zbb")
def cpopw(hart: Hart, rd: Any, rs1: Any) -> None:
    """Count ones in the low 32 bits."""
    hart.x[rd] = zext(popcount(trunc(hart.x[rs1], 32)), 64)


@instruction("0000101 rs2 rs1 100 rd 0110011", "min rd, rs1, rs2", extension="Zbb")
def min_(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Signed minimum."""
    a, b = hart.x[rs1], hart.x[rs2]
    hart.x[rd] = select(slt(a, b), a, b)


@instruction("0000101 rs2 rs1 101 rd 0110011", "minu rd, rs1, rs2", extension="Zbb")
def minu_(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Minimum without sign."""
    a, b = hart.x[rs1], hart.x[rs2]
    hart.x[rd] = select(ult(a, b), a, b)


@instruction("0000101 rs2 rs1 110 rd 0110011", "max rd, rs1, rs2", extension="Zbb")
def max_(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Signed maximum."""
    a, b = hart.x[rs1], hart.x[rs2]
    hart.x[rd] = select(slt(a, b), b, a)


@instruction("0000101 rs2 rs1 111 rd 0110011", "maxu rd, rs1, rs2", extension="Zbb")
def maxu_(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Maximum without sign."""
    a, b = hart.x[rs1], hart.x[rs2]
    hart.x[rd] = select(ult(a, b), b, a)


@instruction("011000000100 rs1 001 rd 0010011", "sext.b rd, rs1", extension="Zbb")
def sext_b(hart: Hart, rd: Any, rs1: Any) -> None:
    """Sign-extend the low 8 bits."""
    hart.x[rd] = sext(trunc(hart.x[rs1], 8), 64)


@instruction("011000000101 rs1 001 rd 0010011", "sext.h rd, rs1", extension="Zbb")
def sext_h(hart: Hart, rd: Any, rs1: Any) -> None:
    """Sign-extend the low 16 bits."""
    hart.x[rd] = sext(trunc(hart.x[rs1], 16), 64)


@instruction("000010000000 rs1 100 rd 0111011", "zext.h rd, rs1", extension="Zbb")
def zext_h(hart: Hart, rd: Any, rs1: Any) -> None:
    """Zero-extend the low 16 bits."""
    hart.x[rd] = zext(trunc(hart.x[rs1], 16), 64)


@instruction("0110000 rs2 rs1 001 rd 0110011", "rol rd, rs1, rs2", extension="Zbb")
def rol(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Rotate left by the low 6 bits of rs2."""
    a, amount = hart.x[rs1], hart.x[rs2]
    hart.x[rd] = a << amount | a >> -amount


@instruction("0110000 rs2 rs1 101 rd 0110011", "ror rd, rs1, rs2", extension="Zbb")
def ror(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Rotate right by the low 6 bits of rs2."""
    a, amount = hart.x[rs1], hart.x[rs2]
    hart.x[rd] = a >> amount | a << -amount


@instruction("011000 shamt[5:0] rs1 101 rd 0010011", "rori rd, rs1, shamt", extension="Zbb")
def rori(hart: Hart, rd: Any, rs1: Any, shamt: Value) -> None:
    """Rotate right by a constant."""
    a = hart.x[rs1]
    hart.x[rd] = a >> shamt | a << -shamt


@instruction("0110000 rs2 rs1 001 rd 0111011", "rolw rd, rs1, rs2", extension="Zbb")
def rolw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Rotate 32 bits left by the low 5 bits of rs2, sign-extended."""
    a, amount = trunc(hart.x[rs1], 32), trunc(hart.x[rs2], 32)
    hart.x[rd] = sext(a << amount | a >> -amount, 64)


@instruction("0110000 rs2 rs1 101 rd 0111011", "rorw rd, rs1, rs2", extension="Zbb")
def rorw(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Rotate 32 bits right by the low 5 bits of rs2, sign-extended."""
    a, amount = trunc(hart.x[rs1], 32), trunc(hart.x[rs2], 32)
    hart.x[rd] = sext(a >> amount | a << -amount, 64)


@instruction("0110000 shamt[4:0] rs1 101 rd 0011011", "roriw rd, rs1, shamt", extension="Zbb")
def roriw(hart: Hart, rd: Any, rs1: Any, shamt: Value) -> None:
    """Rotate 32 bits right by a constant, sign-extended."""
    a, amount = trunc(hart.x[rs1], 32), trunc(shamt, 32)
    hart.x[rd] = sext(a >> amount | a << -amount, 64)


@instruction("001010000111 rs1 101 rd 0010011", "orc.b rd, rs1", extension="Zbb")
def orc_b(hart: Hart, rd: Any, rs1: Any) -> None:
    """Each byte becomes 0xff if any of its bits is set."""
    a = hart.x[rs1]
    # Adding 0x7f carries into a byte's top bit if any lower bit is set, and never out of the byte.
    set_bytes = ((a & 0x7F7F7F7F7F7F7F7F) + 0x7F7F7F7F7F7F7F7F | a) & 0x8080808080808080
    hart.x[rd] = (set_bytes >> 7) * 0xFF


@instruction("011010111000 rs1 101 rd 0010011", "rev8 rd, rs1", extension="Zbb")
def rev8(hart: Hart, rd: Any, rs1: Any) -> None:
    """Reverse the bytes."""
    hart.x[rd] = byte_swap(hart.x[rs1])
