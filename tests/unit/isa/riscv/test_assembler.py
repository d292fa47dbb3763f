# SPDX-License-Identifier: Apache-2.0
"""Assembler and disassembler: each the other's inverse, and against words that GNU as made."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import innkeeper.isa.riscv.instructions  # noqa: F401  (registers all definitions)
from innkeeper.isa.riscv.assembler import PSEUDO, assemble
from innkeeper.isa.riscv.decoder import decode, length_bytes
from innkeeper.isa.riscv.definition import INSTRUCTIONS
from innkeeper.isa.riscv.disassembler import disassemble

IGNORED_FIELDS = {"fence": 0xF00FFF80, "fence.i": 0xFFFFFF80 & ~0x7000}
"""Bits that an instruction ignores and its text does not show."""

ADDRESSES = st.integers(0, (1 << 63) - 1).map(lambda n: 2 * n)


@st.composite
def defined_words(draw: st.DrawFn) -> int:
    """Words of every definition equally often."""
    encoding = INSTRUCTIONS[draw(st.sampled_from(sorted(INSTRUCTIONS)))].encoding
    return encoding.match | draw(st.integers(0, (1 << 32) - 1)) & ~encoding.mask


@settings(max_examples=1000)
@given(st.one_of(defined_words(), st.integers(0, (1 << 32) - 1)), ADDRESSES)
def test_assembling_the_disassembly_gives_the_word(word: int, pc: int) -> None:
    length = length_bytes(word)
    word &= (1 << 8 * length) - 1
    text = disassemble(word, pc)
    decoded = decode(word)
    ignored = IGNORED_FIELDS.get(decoded.instruction.name, 0) if decoded else 0
    assert assemble(text, pc) == (word & ~ignored).to_bytes(length, "little"), text


def test_every_16_bit_word() -> None:
    for word in range(1 << 16):
        if word & 3 != 3:
            assert assemble(disassemble(word, 0x8000), 0x8000) == word.to_bytes(2, "little")


@pytest.mark.parametrize(
    ("text", "word"),
    [  # as GNU as encodes them at address 0x1000
        ("addi a0, a1, -3", 0xFFD58513),
        ("lui t0, 0xfffff", 0xFFFFF2B7),
        ("jal ra, 0x2000", 0x000010EF),
        ("bne s0, x9, 0xff0", 0xFE9418E3),
        ("sd fp, -8(sp)", 0xFE813C23),
        ("sraiw a0, a0, 31", 0x41F5551B),
        ("amoadd.w.aqrl a0, a1, (a2)", 0x06B6252F),
        ("lr.d.aq a0, (a1)", 0x1405B52F),
        ("fmadd.d fa0, fa1, fa2, fa3, rtz", 0x6AC59543),
        ("fcvt.w.s a0, fa0, dyn", 0xC0057553),
        ("fcvt.w.s a0, fa0", 0xC0057553),
        ("csrrwi a0, mscratch, 31", 0x340FD573),
        ("csrrs a0, 0x123, zero", 0x12302573),
        ("fence rw, w", 0x0310000F),
        ("pause", 0x0100000F),
        ("fence.tso", 0x8330000F),
        ("c.lui a0, 0xfffe1", 0x7505),
        ("ret", 0x00008067),
    ],
)
def test_known_words(text: str, word: int) -> None:
    code = assemble(text, 0x1000)
    assert hex(int.from_bytes(code, "little")) == hex(word)


def test_disassembly_is_without_aliases() -> None:
    assert disassemble(0x00008067) == "jalr zero, 0(ra)"
    assert disassemble(0x0100000F) == "fence w, 0"
    assert disassemble(0x06B6252F) == "amoadd.w.aqrl a0, a1, (a2)"
    assert disassemble(0xFE9418E3, 0x1000) == "bne s0, s1, 0xff0"
    assert disassemble(0xFE9418E3, 0) == "bne s0, s1, 0xfffffffffffffff0"
    assert disassemble(0x0000) == ".2byte 0x0000"
    assert disassemble(0xFFFFFFFF) == ".4byte 0xffffffff"


def test_labels_and_statements() -> None:
    code = assemble(
        """
        # counts down
        start:  li a0, 3 ; nop
        loop:   c.addi a0, -1   # two bytes
                bnez a0, loop
                j end
                .8byte 0x1122334455667788, 1
        end: again: j start
        """,
        0x8000_0000,
    )
    texts, here = [], 0
    while here < len(code):
        word = int.from_bytes(code[here : here + 4], "little")
        texts.append(disassemble(word, 0x8000_0000 + here))
        here += length_bytes(word) if here != 18 else 16
    assert texts[:5] == [
        "addi a0, zero, 3",
        "addi zero, zero, 0",
        "c.addi a0, -1",
        "bne a0, zero, 0x80000008",
        "jal zero, 0x80000022",
    ]
    assert code[18:34] == (0x1122334455667788).to_bytes(8, "little") + (1).to_bytes(8, "little")
    assert texts[-1] == "jal zero, 0x80000000"


@given(st.one_of(st.integers(-(1 << 63), (1 << 64) - 1), st.integers(-5000, 5000), st.just(0x7FFFF800)))
def test_load_immediate(value: int) -> None:
    """Executed by hand: only lui, addi, addiw and slli come out."""
    code = assemble(f"li a0, {value}")
    register = 0
    for here in range(0, len(code), 4):
        decoded = decode(int.from_bytes(code[here : here + 4], "little"))
        assert decoded is not None and decoded.operands["rd"] == 10
        constant = decoded.operands.get("imm", decoded.operands.get("shamt", 0))
        source = register if decoded.operands.get("rs1") == 10 else 0
        match decoded.instruction.name:
            case "lui":
                register = constant
            case "addi":
                register = source + constant
            case "addiw":
                register = (source + constant + (1 << 31)) % (1 << 32) - (1 << 31)
            case "slli":
                register = source << constant
            case other:
                pytest.fail(f"li came out as {other}")
    assert register % (1 << 64) == value % (1 << 64)
    assert len(code) <= 32


@pytest.mark.parametrize("form", PSEUDO)
def test_pseudo_instructions_assemble(form: tuple[str, int]) -> None:
    name, count = form
    operands = ["a0", "a1", "a2"][:count]
    if name.startswith("csr"):
        operands = ["a0", "mstatus"] if name == "csrr" else ["mstatus", "5" if name == "csrwi" else "a0"]
    elif name[0] == "b":
        operands[-1] = "."
    elif name in ("j", "jal"):
        operands = ["."]
    code = assemble(f"{name} {', '.join(operands)}")
    assert decode(int.from_bytes(code, "little")) is not None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nop\nfrobnicate a0", "line 2: unknown instruction 'frobnicate a0'"),
        ("addi a0, a1", "needs the form 'addi rd, rs1, imm'"),
        ("addi a0, a1, 2048", "imm cannot be 2048"),
        ("addi a0, f1, 1", "f1"),
        ("addi a0, a1, x", "line 1"),
        ("beq a0, a1, nowhere", "nowhere"),
        ("beq a0, a1, .+1", "imm cannot be 1"),
        ("beq a0, a1, .+4096", "imm cannot be 4096"),
        ("slliw a0, a0, 32", "shamt cannot be 32"),
        ("lui a0, 0x100000", "20 bits"),
        ("fence wr, r", "order"),
        ("fadd.s fa0, fa1, fa2, rxx", "rxx"),
        ("add.aq a0, a1, a2", "unknown instruction"),
        ("li a0, many", "line 1"),
        (".4byte 0x100000000", "line 1"),
        ("a: nop\na: nop", "line 2: label a is there twice"),
        ("lw a0, 4[sp]", "line 1"),
    ],
)
def test_errors_name_the_line(source: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        assemble(source)
    assert message in str(caught.value) and "line " in str(caught.value)
