# SPDX-License-Identifier: Apache-2.0
"""Decoding and disassembly against objdump, which nobody here wrote."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from innkeeper.bench.programs import Program
from innkeeper.isa.riscv.assembler import assemble
from innkeeper.isa.riscv.decoder import decode
from innkeeper.isa.riscv.definition import INSTRUCTIONS
from innkeeper.isa.riscv.disassembler import disassemble
from innkeeper.spec.riscv_names import CSR_NAMES
from tests.differential.objdump.listing import (
    YOUNG_EXTENSIONS,
    addresses,
    agree,
    disassemble_all,
    known_extensions,
)

pytestmark = pytest.mark.oracle
WORDS_PER_INSTRUCTION = 100
RANDOM_WORDS = 100_000


def disagreements(objdump: Path, folder: Path, words: Sequence[int]) -> list[str]:
    """What the two make of the words on which they differ."""
    known = known_extensions(objdump, folder)
    listing = disassemble_all(objdump, folder, words)
    result = []
    for word, address, theirs in zip(words, addresses(words), listing, strict=True):
        ours = disassemble(word, address)
        decoded = decode(word)
        extension = decoded.instruction.extension.lower() if decoded else ""
        if extension in YOUNG_EXTENSIONS and extension not in known:
            continue
        if not agree(word, ours, theirs):
            result.append(f"{word:#x}: ours {ours!r}, objdump {theirs!r}")
    return result


def test_every_16_bit_word(cross_objdump: Program, tmp_path: Path) -> None:
    words = [word for word in range(1 << 16) if word & 3 != 3]
    assert disagreements(cross_objdump.path, tmp_path, words) == []


def test_every_definition_with_random_fields(cross_objdump: Program, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    source = random.Random(seed)
    words = []
    for definition in INSTRUCTIONS.values():
        encoding = definition.encoding
        made = (
            encoding.match | source.getrandbits(32) & ~encoding.mask for _ in range(WORDS_PER_INSTRUCTION)
        )
        words += [word for word in made if encoding.matches(word)]
    assert len(words) > WORDS_PER_INSTRUCTION * len(INSTRUCTIONS) // 2
    assert disagreements(cross_objdump.path, tmp_path, words) == []


def test_random_words(cross_objdump: Program, tmp_path: Path) -> None:
    """What objdump takes for an instruction of our extensions, we do too, and nothing else."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    source = random.Random(seed)
    words = [source.getrandbits(32) | 3 for _ in range(RANDOM_WORDS)]
    words = [word for word in words if word & 0x1F != 0x1F]  # objdump takes these for longer instructions
    # Half of them in the crowded major opcodes.
    words += [w & ~0x7F | source.choice((0x13, 0x1B, 0x2F, 0x33, 0x3B, 0x53, 0x73)) for w in words]
    assert disagreements(cross_objdump.path, tmp_path, words) == []


def test_names_of_our_csrs(cross_objdump: Program, tmp_path: Path) -> None:
    numbers = list(CSR_NAMES)
    words = [number << 20 | 0x2073 for number in numbers]
    listing = disassemble_all(cross_objdump.path, tmp_path, words)
    theirs = {number: line.split(",")[1] for number, line in zip(numbers, listing, strict=True)}
    assert theirs == CSR_NAMES


@pytest.mark.parametrize("source", ["pause", "fence.tso"])
def test_fences_with_names_of_their_own(source: str, cross_objdump: Program, tmp_path: Path) -> None:
    """They are fences to us; the word is the one that objdump knows under the name."""
    word = int.from_bytes(assemble(source), "little")
    assert disassemble_all(cross_objdump.path, tmp_path, [word]) == [source]
    decoded = decode(word)
    assert decoded is not None and decoded.instruction.name == "fence"
