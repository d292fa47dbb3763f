# SPDX-License-Identifier: Apache-2.0
"""Disassembly, derived from the definitions' encodings and syntax. No aliases: `addi a0, a1, 0`, not `mv`."""

from __future__ import annotations

from innkeeper.isa.riscv.decoder import decode, length_bytes
from innkeeper.isa.riscv.definition import Compressed, Instruction
from innkeeper.isa.riscv.syntax import field_of, pattern, show, suffix_of


def disassemble(word: int, pc: int = 0) -> str:
    """The instruction in the low bits of `word`, at address `pc`, as assembly language.

    What is no instruction becomes `.2byte` or `.4byte`. `assemble(text, pc)` gives the same bits back, except
    that fields which the instruction ignores and the text does not show (fence, fence.i) become 0.
    """
    decoded = decode(word)
    if decoded is None:
        length = length_bytes(word)
        return f".{length}byte {word & (1 << 8 * length) - 1:#0{2 + 2 * length}x}"
    return _text(decoded.compressed or decoded.instruction, word, pc)


def _text(definition: Instruction | Compressed, word: int, pc: int) -> str:
    encoding = definition.encoding
    fields = {f.name: f.extract(word) for f in encoding.fields}
    shown = []
    for item in pattern(definition.syntax):
        name = field_of(item, encoding)
        shown.append(f"{item} " if item == "," else item if name is None else show(item, fields[name], pc))
    return f"{definition.name}{suffix_of(fields)} {''.join(shown)}".rstrip()
