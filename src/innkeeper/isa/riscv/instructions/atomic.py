# SPDX-License-Identifier: Apache-2.0
"""A: load-reserved, store-conditional and atomic memory operations.

Every one is sequentially consistent, which any aq and rl allow, so the bits are no operands.

Spec: riscv-unpriv 20240411, "A" Extension for Atomic Instructions (Zalrsc, Zaamo).
"""

from __future__ import annotations

from typing import Any

from innkeeper.ir.value import sext, trunc
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart


@instruction("00010 aq rl 00000 rs1 010 rd 0101111", "lr.w rd, (rs1)", extension="A")
def lr_w(hart: Hart, rd: Any, rs1: Any) -> None:
    """Load 32 bits and reserve them."""
    hart.x[rd] = sext(hart.load_reserved(hart.x[rs1], 32), 64)


@instruction("00011 aq rl rs2 rs1 010 rd 0101111", "sc.w rd, rs2, (rs1)", extension="A")
def sc_w(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Store 32 bits if the reservation holds; rd is 0, else 1."""
    hart.x[rd] = hart.store_conditional(hart.x[rs1], trunc(hart.x[rs2], 32))


@instruction("00010 aq rl 00000 rs1 011 rd 0101111", "lr.d rd, (rs1)", extension="A")
def lr_d(hart: Hart, rd: Any, rs1: Any) -> None:
    """Load 64 bits and reserve them."""
    hart.x[rd] = hart.load_reserved(hart.x[rs1], 64)


@instruction("00011 aq rl rs2 rs1 011 rd 0101111", "sc.d rd, rs2, (rs1)", extension="A")
def sc_d(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Store 64 bits if the reservation holds; rd is 0, else 1."""
    hart.x[rd] = hart.store_conditional(hart.x[rs1], hart.x[rs2])


@instruction("00001 aq rl rs2 rs1 010 rd 0101111", "amoswap.w rd, rs2, (rs1)", extension="A")
def amoswap_w(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically exchange memory with rs2, 32 bits; rd is what it was."""
    hart.x[rd] = sext(hart.amo("swap", hart.x[rs1], trunc(hart.x[rs2], 32)), 64)


@instruction("00001 aq rl rs2 rs1 011 rd 0101111", "amoswap.d rd, rs2, (rs1)", extension="A")
def amoswap_d(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically exchange memory with rs2, 64 bits; rd is what it was."""
    hart.x[rd] = hart.amo("swap", hart.x[rs1], hart.x[rs2])


@instruction("00000 aq rl rs2 rs1 010 rd 0101111", "amoadd.w rd, rs2, (rs1)", extension="A")
def amoadd_w(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically add rs2 to memory, 32 bits; rd is what it was."""
    hart.x[rd] = sext(hart.amo("add", hart.x[rs1], trunc(hart.x[rs2], 32)), 64)


@instruction("00000 aq rl rs2 rs1 011 rd 0101111", "amoadd.d rd, rs2, (rs1)", extension="A")
def amoadd_d(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically add rs2 to memory, 64 bits; rd is what it was."""
    hart.x[rd] = hart.amo("add", hart.x[rs1], hart.x[rs2])


@instruction("00100 aq rl rs2 rs1 010 rd 0101111", "amoxor.w rd, rs2, (rs1)", extension="A")
def amoxor_w(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically exclusive-or rs2 into memory, 32 bits; rd is what it was."""
    hart.x[rd] = sext(hart.amo("xor", hart.x[rs1], trunc(hart.x[rs2], 32)), 64)


@instruction("00100 aq rl rs2 rs1 011 rd 0101111", "amoxor.d rd, rs2, (rs1)", extension="A")
def amoxor_d(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically exclusive-or rs2 into memory, 64 bits; rd is what it was."""
    hart.x[rd] = hart.amo("xor", hart.x[rs1], hart.x[rs2])


@instruction("01100 aq rl rs2 rs1 010 rd 0101111", "amoand.w rd, rs2, (rs1)", extension="A")
def amoand_w(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically and rs2 into memory, 32 bits; rd is what it was."""
    hart.x[rd] = sext(hart.amo("and", hart.x[rs1], trunc(hart.x[rs2], 32)), 64)


@instruction("01100 aq rl rs2 rs1 011 rd 0101111", "amoand.d rd, rs2, (rs1)", extension="A")
def amoand_d(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically and rs2 into memory, 64 bits; rd is what it was."""
    hart.x[rd] = hart.amo("and", hart.x[rs1], hart.x[rs2])


@instruction("01000 aq rl rs2 rs1 010 rd 0101111", "amoor.w rd, rs2, (rs1)", extension="A")
def amoor_w(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically or rs2 into memory, 32 bits; rd is what it was."""
    hart.x[rd] = sext(hart.amo("or", hart.x[rs1], trunc(hart.x[rs2], 32)), 64)


@instruction("01000 aq rl rs2 rs1 011 rd 0101111", "amoor.d rd, rs2, (rs1)", extension="A")
def amoor_d(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically or rs2 into memory, 64 bits; rd is what it was."""
    hart.x[rd] = hart.amo("or", hart.x[rs1], hart.x[rs2])


@instruction("10000 aq rl rs2 rs1 010 rd 0101111", "amomin.w rd, rs2, (rs1)", extension="A")
def amomin_w(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically leave the signed minimum in memory, 32 bits; rd is what it was."""
    hart.x[rd] = sext(hart.amo("min", hart.x[rs1], trunc(hart.x[rs2], 32)), 64)


@instruction("10000 aq rl rs2 rs1 011 rd 0101111", "amomin.d rd, rs2, (rs1)", extension="A")
def amomin_d(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically leave the signed minimum in memory, 64 bits; rd is what it was."""
    hart.x[rd] = hart.amo("min", hart.x[rs1], hart.x[rs2])


@instruction("10100 aq rl rs2 rs1 010 rd 0101111", "amomax.w rd, rs2, (rs1)", extension="A")
def amomax_w(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically leave the signed maximum in memory, 32 bits; rd is what it was."""
    hart.x[rd] = sext(hart.amo("max", hart.x[rs1], trunc(hart.x[rs2], 32)), 64)


@instruction("10100 aq rl rs2 rs1 011 rd 0101111", "amomax.d rd, rs2, (rs1)", extension="A")
def amomax_d(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically leave the signed maximum in memory, 64 bits; rd is what it was."""
    hart.x[rd] = hart.amo("max", hart.x[rs1], hart.x[rs2])


@instruction("11000 aq rl rs2 rs1 010 rd 0101111", "amominu.w rd, rs2, (rs1)", extension="A")
def amominu_w(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically leave the minimum without sign in memory, 32 bits; rd is what it was."""
    hart.x[rd] = sext(hart.amo("minu", hart.x[rs1], trunc(hart.x[rs2], 32)), 64)


@instruction("11000 aq rl rs2 rs1 011 rd 0101111", "amominu.d rd, rs2, (rs1)", extension="A")
def amominu_d(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically leave the minimum without sign in memory, 64 bits; rd is what it was."""
    hart.x[rd] = hart.amo("minu", hart.x[rs1], hart.x[rs2])


@instruction("11100 aq rl rs2 rs1 010 rd 0101111", "amomaxu.w rd, rs2, (rs1)", extension="A")
def amomaxu_w(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically leave the maximum without sign in memory, 32 bits; rd is what it was."""
    hart.x[rd] = sext(hart.amo("maxu", hart.x[rs1], trunc(hart.x[rs2], 32)), 64)


@instruction("11100 aq rl rs2 rs1 011 rd 0101111", "amomaxu.d rd, rs2, (rs1)", extension="A")
def amomaxu_d(hart: Hart, rd: Any, rs1: Any, rs2: Any) -> None:
    """Atomically leave the maximum without sign in memory, 64 bits; rd is what it was."""
    hart.x[rd] = hart.amo("maxu", hart.x[rs1], hart.x[rs2])
