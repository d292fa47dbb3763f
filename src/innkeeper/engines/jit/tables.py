# SPDX-License-Identifier: Apache-2.0
"""The tables that the native translator reads, derived from the definitions.

All are arrays of 64-bit words laid out as `innkeeper.codegen.layout` says; NARROW has 16-bit elements.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import innkeeper.isa.riscv.instructions  # noqa: F401  (registers all definitions)
from innkeeper.codegen import layout as at
from innkeeper.codegen.stencil import Stencil
from innkeeper.codegen.stencil_ir import StencilInfo, Unsupported, stencil_ir
from innkeeper.isa.riscv.definition import COMPRESSED, INSTRUCTIONS, Compressed, Instruction
from innkeeper.isa.riscv.encoding import SIGNED_FIELDS, Field
from innkeeper.isa.riscv.trace import Trace, trace

ROUNDINGS = (0, 1, 2, 3, 4, 7)


@dataclass
class Operation:
    """One instruction as the translator sees it: a definition, with a rounding mode where it has one."""

    definition: Instruction
    rounding: int | None
    trace: Trace
    stencil_name: str
    ir: str | None
    """LLVM IR of its stencil; None where the reference engine executes it."""
    info: StencilInfo = field(default_factory=StencilInfo)


def operations() -> list[Operation]:
    """All operations, in order of definition."""
    return [_operation(d, rm) for d in INSTRUCTIONS.values() for rm in _roundings(d)]


def _roundings(definition: Instruction) -> tuple[int | None, ...]:
    return ROUNDINGS if "rm" in definition.operands else (None,)


def _operation(definition: Instruction, rounding: int | None) -> Operation:
    name = definition.name.replace(".", "_") + (f"_rm{rounding}" if rounding is not None else "")
    traced = trace(definition, rounding)
    try:
        ir, info = stencil_ir(name, traced, definition.operands)
    except Unsupported:
        ends = StencilInfo(control="end", uses_float=definition.extension in ("F", "D"))
        return Operation(definition, rounding, traced, name, None, ends)
    return Operation(definition, rounding, traced, name, ir, info)


def stencil_arrays(stencils: list[Stencil]) -> tuple[bytes, array[int], array[int]]:
    """Code of all stencils, four words of facts for each, and their relocations."""
    code = bytearray()
    facts, relocations = array("Q"), array("Q")
    for stencil in stencils:
        facts.extend(
            (len(code), len(stencil.code), len(relocations) // at.RELOCATION_WORDS, len(stencil.holes))
        )
        code += stencil.code
        for hole in stencil.holes:
            where = hole.offset | hole.kind << 32 | hole.relative << 40 | hole.wide << 41
            relocations.extend((where, hole.index, hole.addend & (1 << 64) - 1))
    return bytes(code), facts, relocations


def operation_array(all_operations: list[Operation], numbers: dict[str, int]) -> array[int]:
    """What the translator knows of each operation; `numbers` gives a stencil's number by its name."""
    words = array("Q")
    for operation in all_operations:
        operands, info = operation.definition.operands, operation.info
        stencil = numbers[operation.stencil_name] if operation.ir is not None else at.NO_STENCIL
        memory = info.memory
        facts = 0
        if memory is not None:
            facts = memory.kind | memory.size_bytes << 4 | memory.extend << 8 | memory.register_operand << 12
            facts |= memory.is_float << 16
        target = operands.index("imm") if "imm" in operands else 0
        rd = operands.index("rd") if "rd" in operands else 0
        words.extend((stencil, _flags(operation), facts, target, rd))
    return words


def _flags(operation: Operation) -> int:
    info = operation.info
    flags = {"jump": at.FLAG_JUMP, "branch": at.FLAG_BRANCH, "end": at.FLAG_END}.get(info.control, 0)
    flags |= at.FLAG_MEMORY if info.memory is not None else 0
    flags |= at.FLAG_FLOAT if info.uses_float else 0
    flags |= at.FLAG_WRITES_FLOAT if info.writes_float else 0
    effects = {e.op for e in operation.trace.effects}
    if "write_x" in effects and effects <= {"read_x", "write_x", "jump"} and info.control in ("next", "jump"):
        flags |= at.FLAG_PURE
    return flags


class DecodingTables:
    """Entries for all encodings, found by bucket (32-bit) or directly (16-bit)."""

    def __init__(self, all_operations: list[Operation]) -> None:
        self.entries, self.fields = array("Q"), array("Q")
        self.buckets, self.candidates = array("Q"), array("Q")
        self.narrow = array("H", bytes(2 * 65536))
        self._numbers = {(o.definition.name, o.rounding): i for i, o in enumerate(all_operations)}
        buckets: list[list[int]] = [[] for _ in range(256)]
        for number, operation in enumerate(all_operations):
            mask, match = _with_rounding(operation)
            entry = self._add(mask, match, number, self._wide_fields(operation.definition))
            for bucket in _bucket_indexes(mask, match):
                buckets[bucket].append(entry)
        for found in buckets:
            self.buckets.append(len(self.candidates) | len(found) << 32)
            self.candidates.extend(found)
        for short in COMPRESSED.values():
            self._add_compressed(short)

    def _add(self, mask: int, match: int, operation: int, fields: list[list[int]]) -> int:
        self.entries.extend((mask, match, operation, len(self.fields), len(fields)))
        for words in fields:
            self.fields.extend(words)
        return len(self.entries) // at.ENTRY_WORDS - 1

    @staticmethod
    def _wide_fields(definition: Instruction) -> list[list[int]]:
        found = [definition.encoding.field(name) for name in definition.operands]
        return [_field_words(f) for f in found if f is not None]

    def _add_compressed(self, short: Compressed) -> None:
        target = INSTRUCTIONS[short.target]
        fields = []
        rounding = None
        for name in target.operands:
            value = short.operands[name]
            if name == "rm":
                rounding = int(value)
            found = short.encoding.field(value) if isinstance(value, str) else None
            fields.append(_field_words(found) if found is not None else [0, int(value) & (1 << 64) - 1])
        operation = self._numbers[(target.name, rounding)]
        entry = self._add(short.encoding.mask, short.encoding.match, operation, fields)
        for word in _halfwords(short):
            if self.narrow[word]:
                raise ValueError(f"{short.name} overlaps another instruction at {word:#06x}")
            self.narrow[word] = entry + 1


def _with_rounding(operation: Operation) -> tuple[int, int]:
    encoding = operation.definition.encoding
    if operation.rounding is None:
        return encoding.mask, encoding.match
    return encoding.mask | 7 << 12, encoding.match | operation.rounding << 12


def _bucket_indexes(mask: int, match: int) -> Iterator[int]:
    for funct3 in range(8):
        if (funct3 << 12 ^ match) & mask & 7 << 12 == 0:
            yield match >> 2 & 31 | funct3 << 5


def _field_words(found: Field) -> list[int]:
    sign = found.width - 1 if found.name in SIGNED_FIELDS else 0
    moves = [m.source | m.target << 8 | m.width << 16 for m in found.moves]
    return [len(moves) | sign << 8, found.base, *moves]


def _halfwords(short: Compressed) -> Iterator[int]:
    """Every 16-bit word that is this instruction."""
    free = [bit for bit in range(16) if not short.encoding.mask >> bit & 1]
    for number in range(1 << len(free)):
        word = short.encoding.match
        for position, bit in enumerate(free):
            word |= (number >> position & 1) << bit
        if short.encoding.matches(word):
            yield word
