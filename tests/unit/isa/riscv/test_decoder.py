# SPDX-License-Identifier: Apache-2.0
"""Decoding: no overlap, no exception, and every definition keeps the rules."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import innkeeper.isa.riscv.instructions  # noqa: F401  (registers all definitions)
from innkeeper.isa.riscv.decoder import decode, length_bytes
from innkeeper.isa.riscv.definition import COMPRESSED, INSTRUCTIONS
from innkeeper.isa.riscv.syntax import field_of, pattern
from innkeeper.isa.riscv.trace import trace


def test_wide_encodings_never_overlap() -> None:
    for a, b in combinations(INSTRUCTIONS.values(), 2):
        fixed = a.encoding.mask & b.encoding.mask
        assert a.encoding.match & fixed != b.encoding.match & fixed, f"{a.name} overlaps {b.name}"


def test_compressed_encodings_never_overlap() -> None:
    """Exclusions keep some apart, so by trying every word."""
    for word in range(1 << 16):
        found = [name for name, short in COMPRESSED.items() if short.encoding.matches(word)]
        assert len(found) <= 1, f"{word:#06x}: {found}"


def test_a_wide_encoding_is_32_bits_with_11_at_the_end() -> None:
    for definition in INSTRUCTIONS.values():
        assert definition.encoding.width == 32 and definition.encoding.mask & 0x7F == 0x7F
        assert definition.encoding.match & 3 == 3
    for short in COMPRESSED.values():
        assert short.encoding.width == 16 and short.encoding.mask & 0xE003 == 0xE003
        assert short.encoding.match & 3 != 3


def test_compressed_gives_its_target_every_operand() -> None:
    for short in COMPRESSED.values():
        assert set(short.operands) == set(INSTRUCTIONS[short.target].operands), short.name


def test_syntax_shows_every_operand() -> None:
    """So that the assembler can say it: all but what the instruction ignores."""
    for definition in INSTRUCTIONS.values():
        shown = {field_of(word, definition.encoding) for word in pattern(definition.syntax)}
        assert set(definition.operands) <= shown, definition.name


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_definition_keeps_the_rules(name: str) -> None:
    definition = INSTRUCTIONS[name]
    for rm in (0, 1, 2, 3, 4, 7) if "rm" in definition.operands else (None,):
        recorded = trace(definition, rm)
        assert recorded.name == name
        assert len(recorded.all("write_x")) <= 1 and len(recorded.all("write_f")) <= 1


@settings(max_examples=2000)
@given(st.integers(0, (1 << 32) - 1))
def test_decoding_never_raises(word: int) -> None:
    decoded = decode(word)
    if decoded is None:
        return
    assert decoded.length_bytes == length_bytes(word)
    assert set(decoded.operands) == set(decoded.instruction.operands)
    for name, value in decoded.operands.items():
        if name in ("rd", "rs1", "rs2", "rs3"):
            assert 0 <= value < 32


@pytest.mark.parametrize(
    "word",
    [
        0x00000000,
        0xFFFFFFFF,
        0x02005013 | 1 << 26,  # shift of 64 bits with a reserved bit
        0x0200101B,  # slliw with shamt[5]
        0x0000405B,
        0x00007003,  # load with funct3 7
        0x00004023,  # store with funct3 4
        0x00002063,  # branch with funct3 2
        0b00001_00_00001_00001_000_00001_0101111,  # amo of 8 bits
        0b00010_00_00001_00001_010_00001_0101111,  # lr.w with rs2
        0b0000101_00001_00001_000_00001_0110011,  # between M and B
    ],
)
def test_undefined_words(word: int) -> None:
    assert decode(word) is None


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("c.addi4spn with 0", 0x0004),
        ("quadrant 0, 100", 0x8000),
        ("c.addiw with rd = x0", 0x2005),
        ("c.addi16sp with 0", 0x6101),
        ("c.lui with 0", 0x6081),
        ("c.lui with x0 and 0", 0x6001),
        ("quadrant 1, 100 1 11 10", 0x9C41),
        ("quadrant 1, 100 1 11 11", 0x9C61),
        ("c.lwsp with rd = x0", 0x4002),
        ("c.ldsp with rd = x0", 0x6002),
        ("c.jr with x0", 0x8002),
    ],
)
def test_reserved_16_bit_words(name: str, word: int) -> None:
    assert decode(word) is None, name


def test_number_of_legal_16_bit_words() -> None:
    """Counted from the manual's listing: no hint is lost and no reserved word slips in."""
    quadrant_0 = 255 * 8 + 6 * 2048  # c.addi4spn without 0; six loads and stores
    quadrant_1 = (
        2048  # c.nop, c.addi
        + 31 * 64  # c.addiw
        + 2048  # c.li
        + 63 * 32  # c.lui, c.addi16sp
        + 3 * 8 * 64  # c.srli, c.srai, c.andi
        + 6 * 64  # arithmetic on two registers
        + 3 * 2048  # c.j, c.beqz, c.bnez
    )
    quadrant_2 = (
        2 * 2048  # c.slli, c.fldsp
        + 2 * 31 * 64  # c.lwsp, c.ldsp
        + 31  # c.jr
        + 2 * 32 * 31  # c.mv, c.add
        + 1 + 31  # c.ebreak, c.jalr
        + 3 * 2048  # c.fsdsp, c.swsp, c.sdsp
    )  # fmt: skip
    legal = sum(decode(word) is not None for word in range(1 << 16) if word & 3 != 3)
    assert legal == quadrant_0 + quadrant_1 + quadrant_2


def test_upper_half_does_not_matter_for_a_short_one() -> None:
    assert decode(0xFFFF4501) == decode(0x00004501)
