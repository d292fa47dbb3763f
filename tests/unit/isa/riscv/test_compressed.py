# SPDX-License-Identifier: Apache-2.0
"""What each 16-bit instruction stands for, in assembly language; the manual says so for each one."""

from __future__ import annotations

import pytest

from innkeeper.isa.riscv.assembler import assemble
from innkeeper.isa.riscv.decoder import Decoded, decode
from innkeeper.isa.riscv.definition import COMPRESSED

EXPANSIONS = {
    "c.addi4spn s1, sp, 1020": "addi s1, sp, 1020",
    "c.fld fs0, 248(a5)": "fld fs0, 248(a5)",
    "c.lw a5, 124(s0)": "lw a5, 124(s0)",
    "c.ld a5, 8(s0)": "ld a5, 8(s0)",
    "c.fsd fa5, 64(s0)": "fsd fa5, 64(s0)",
    "c.sw a0, 64(a1)": "sw a0, 64(a1)",
    "c.sd a0, 192(a1)": "sd a0, 192(a1)",
    "c.nop 0": "addi zero, zero, 0",
    "c.nop -3": "addi zero, zero, -3",
    "c.addi t6, -32": "addi t6, t6, -32",
    "c.addi a0, 0": "addi a0, a0, 0",
    "c.addiw a0, 31": "addiw a0, a0, 31",
    "c.li zero, 5": "addi zero, zero, 5",
    "c.li a0, -1": "addi a0, zero, -1",
    "c.addi16sp sp, -512": "addi sp, sp, -512",
    "c.addi16sp sp, 496": "addi sp, sp, 496",
    "c.lui zero, 1": "lui zero, 1",
    "c.lui a0, 0xfffe0": "lui a0, 0xfffe0",
    "c.srli s0, 63": "srli s0, s0, 63",
    "c.srli s0, 0": "srli s0, s0, 0",
    "c.srai a5, 32": "srai a5, a5, 32",
    "c.andi a0, -32": "andi a0, a0, -32",
    "c.sub s0, a5": "sub s0, s0, a5",
    "c.xor s0, a5": "xor s0, s0, a5",
    "c.or s0, a5": "or s0, s0, a5",
    "c.and s0, a5": "and s0, s0, a5",
    "c.subw s0, a5": "subw s0, s0, a5",
    "c.addw s0, a5": "addw s0, s0, a5",
    "c.j .-2048": "jal zero, .-2048",
    "c.j .+2046": "jal zero, .+2046",
    "c.beqz s0, .-256": "beq s0, zero, .-256",
    "c.bnez a5, .+254": "bne a5, zero, .+254",
    "c.slli t6, 63": "slli t6, t6, 63",
    "c.slli zero, 1": "slli zero, zero, 1",
    "c.fldsp ft0, 504(sp)": "fld ft0, 504(sp)",
    "c.lwsp ra, 252(sp)": "lw ra, 252(sp)",
    "c.ldsp ra, 504(sp)": "ld ra, 504(sp)",
    "c.jr t0": "jalr zero, 0(t0)",
    "c.mv a0, t6": "add a0, zero, t6",
    "c.mv zero, t6": "add zero, zero, t6",
    "c.ebreak": "ebreak",
    "c.jalr t0": "jalr ra, 0(t0)",
    "c.add a0, t6": "add a0, a0, t6",
    "c.add zero, sp": "add zero, zero, sp",
    "c.fsdsp fs11, 8(sp)": "fsd fs11, 8(sp)",
    "c.swsp t6, 4(sp)": "sw t6, 4(sp)",
    "c.sdsp t6, 256(sp)": "sd t6, 256(sp)",
}


def decoded(text: str) -> Decoded:
    found = decode(int.from_bytes(assemble(text, 0x10000), "little"))
    assert found is not None
    return found


@pytest.mark.parametrize("short", EXPANSIONS)
def test_expansion(short: str) -> None:
    one, full = decoded(short), decoded(EXPANSIONS[short])
    assert (one.instruction, one.operands) == (full.instruction, full.operands)
    assert (one.length_bytes, full.length_bytes) == (2, 4)
    assert one.compressed is not None and one.compressed.name == short.split()[0]


def test_every_one_is_shown() -> None:
    assert {text.split()[0] for text in EXPANSIONS} == set(COMPRESSED)


@pytest.mark.parametrize(
    "text",
    [
        "c.addi4spn a0, sp, 0",
        "c.addi4spn a0, sp, 1024",
        "c.addi4spn a0, sp, 6",
        "c.lwsp zero, 0(sp)",
        "c.ldsp zero, 0(sp)",
        "c.addiw zero, 1",
        "c.addi zero, 1",
        "c.addi16sp sp, 0",
        "c.lui sp, 1",
        "c.lui a0, 0",
        "c.lui a0, 0x20",
        "c.jr zero",
        "c.jalr zero",
        "c.mv a0, zero",
        "c.lw t0, 0(a0)",
        "c.slli a0, 64",
        "c.beqz s0, .+256",
    ],
)
def test_what_has_no_short_form(text: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        assemble(text)
