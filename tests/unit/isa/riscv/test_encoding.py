# SPDX-License-Identifier: Apache-2.0
"""Reading encodings as the manual writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import innkeeper.isa.riscv.instructions  # noqa: F401  (registers all definitions)
from innkeeper.isa.riscv.definition import COMPRESSED, INSTRUCTIONS
from innkeeper.isa.riscv.encoding import Encoding, parse_encoding

ENCODINGS = {d.name: d.encoding for d in [*INSTRUCTIONS.values(), *COMPRESSED.values()]}


def test_scattered_immediate() -> None:
    branch = parse_encoding("imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011")
    imm = branch.field("imm")
    assert imm is not None and imm.width == 13
    # beq a0, a1, .-8, as GNU as encodes it.
    word = 0xFEB50CE3
    assert branch.matches(word)
    assert imm.extract(word) == -8
    assert branch.match | imm.insert(-8) | 10 << 15 | 11 << 20 == word


def test_compressed_register() -> None:
    encoding = parse_encoding("010 uimm[5:3] rs1' uimm[2|6] rd' 00")
    rd = encoding.field("rd")
    assert rd is not None
    assert [rd.extract(n << 2) for n in (0, 7)] == [8, 15]
    with pytest.raises(ValueError, match="rd"):
        rd.insert(7)
    with pytest.raises(ValueError, match="rd"):
        rd.insert(16)


@pytest.mark.parametrize("value", [4096, 4095, 3, -4098])
def test_insert_refuses_what_does_not_fit(value: int) -> None:
    imm = parse_encoding("imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011").field("imm")
    assert imm is not None
    with pytest.raises(ValueError, match="imm cannot be"):
        imm.insert(value)


def test_exclusion_is_on_the_whole_field() -> None:
    encoding = parse_encoding("011 imm[17] rd!={0,2} imm[16:12]!=0 01")
    assert not encoding.matches(0x6081 & ~0x1000)  # imm = 0
    assert encoding.matches(0x7081)  # only the high bit of imm is set
    assert not encoding.matches(0x7101) and not encoding.matches(0x7001)  # rd = 2, rd = 0


def test_reserved_rounding_modes_never_match() -> None:
    encoding = parse_encoding("0000000 rs2 rs1 rm rd 1010011")
    assert [rm for rm in range(8) if encoding.matches(0x53 | rm << 12)] == [0, 1, 2, 3, 4, 7]


@pytest.mark.parametrize("text", ["", "0110011", "rd 0110011", "rd[4:0 0110011", "imm 0110011", "0" * 33])
def test_bad_encodings(text: str) -> None:
    with pytest.raises(ValueError):
        parse_encoding(text)


@pytest.mark.parametrize("name", ENCODINGS)
def test_fields_and_fixed_bits_fill_the_word(name: str) -> None:
    """Every bit is fixed or belongs to exactly one field."""
    encoding = ENCODINGS[name]
    covered = encoding.mask
    for field in encoding.fields:
        for move in field.moves:
            bits = (1 << move.width) - 1 << move.source
            assert covered & bits == 0
            covered |= bits
    assert covered == (1 << encoding.width) - 1
    assert encoding.match & ~encoding.mask == 0


@given(st.sampled_from(sorted(ENCODINGS)), st.integers(0, (1 << 32) - 1))
def test_insert_is_the_inverse_of_extract(name: str, noise: int) -> None:
    encoding: Encoding = ENCODINGS[name]
    word = encoding.match | noise & ~encoding.mask & (1 << encoding.width) - 1
    if not encoding.matches(word):
        return
    assert encoding.match | sum(f.insert(f.extract(word)) for f in encoding.fields) == word
