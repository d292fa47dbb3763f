# SPDX-License-Identifier: Apache-2.0
"""Decoding, derived from the definitions' encodings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from innkeeper.isa.riscv.definition import COMPRESSED, INSTRUCTIONS, Compressed, Instruction


@dataclass(frozen=True)
class Decoded:
    """One instruction found in memory: what executes, its operands by name, and its length."""

    instruction: Instruction
    operands: dict[str, int]
    """By field name; immediates may be negative. Only what the definition takes."""
    length_bytes: int
    compressed: Compressed | None = None


@lru_cache(maxsize=1)
def _buckets() -> tuple[dict[int, list[Instruction]], dict[int, list[Compressed]]]:
    """Candidates by opcode (low 7 bits), and by quadrant and funct3 for 16-bit ones."""
    import innkeeper.isa.riscv.instructions  # noqa: F401  (registers all definitions)

    wide: dict[int, list[Instruction]] = {}
    for definition in INSTRUCTIONS.values():
        wide.setdefault(definition.encoding.match & 0x7F, []).append(definition)
    narrow: dict[int, list[Compressed]] = {}
    for short in COMPRESSED.values():
        narrow.setdefault(short.encoding.match & 3 | short.encoding.match >> 11 & 0x1C, []).append(short)
    return wide, narrow


def length_bytes(word: int) -> int:
    """Length of the instruction that begins with these bits: 2 or 4 (longer ones do not exist here)."""
    return 4 if word & 3 == 3 else 2


@lru_cache(maxsize=1 << 16)
def decode(word: int) -> Decoded | None:
    """The instruction in the low bits of `word` (32 bits; the upper 16 do not matter for a short one).

    None where nothing is defined: the hart raises illegal instruction.
    """
    wide, narrow = _buckets()
    if word & 3 != 3:
        word &= 0xFFFF
        for short in narrow.get(word & 3 | word >> 11 & 0x1C, ()):
            if short.encoding.matches(word):
                return _expand(short, word)
        return None
    for definition in wide.get(word & 0x7F, ()):
        if definition.encoding.matches(word):
            fields = {f.name: f.extract(word) for f in definition.encoding.fields}
            return Decoded(definition, {name: fields[name] for name in definition.operands}, 4)
    return None


def _expand(short: Compressed, word: int) -> Decoded:
    fields = {f.name: f.extract(word) for f in short.encoding.fields}
    target = INSTRUCTIONS[short.target]
    operands = {}
    for name in target.operands:
        value = short.operands[name]
        operands[name] = fields[value] if isinstance(value, str) else value
    return Decoded(target, operands, 2, short)
