# SPDX-License-Identifier: Apache-2.0
"""Stencils as data: machine code with holes, read from an object file.

By analogy to an object file: a `Stencil` is a section, a `Hole` a relocation. Only the relocations that
copying needs are understood; anything else fails when building.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from innkeeper.codegen import layout as at

_KINDS = {
    "X": at.HOLE_X, "XD": at.HOLE_XD, "F": at.HOLE_F, "RAW": at.HOLE_RAW, "URAW": at.HOLE_RAW,
    "PC": at.HOLE_PC, "PCIMM": at.HOLE_PC_IMM, "NEXTPC": at.HOLE_NEXT_PC, "BUDGET": at.HOLE_BUDGET,
    "SLOT": at.HOLE_SLOT,
    "SITE": at.HOLE_SITE, "TABLE": at.HOLE_TABLE, "NEXT": at.HOLE_NEXT, "TAKEN": at.HOLE_TAKEN,
    "COLD": at.HOLE_COLD, "STUB": at.HOLE_STUB,
}  # fmt: skip
_R_64, _R_PC32, _R_PLT32, _R_32, _R_32S = 1, 2, 4, 10, 11
_JUMP = 0xE9


@dataclass(frozen=True)
class Hole:
    """Bits at `offset` to be filled: kind `HOLE_*`, its operand or index, what to add, whether relative.

    `wide`: 64 bits instead of 32.
    """

    offset: int
    kind: int
    index: int
    addend: int
    relative: bool
    wide: bool = False


@dataclass(frozen=True)
class Stencil:
    """Code of one stencil. The last jump to NEXT is not in it: what follows is copied behind."""

    name: str
    code: bytes
    holes: tuple[Hole, ...]


class StencilError(Exception):
    """LLVM produced something that copying cannot handle; found when building."""


def read_stencils(image: bytes, tables: list[str]) -> tuple[dict[str, Stencil], bytes]:
    """All stencils of an object file made from `stencil_ir`, and its constants (read-only data).

    `tables` gives the index of each native function in the function table.
    """
    elf = ELFFile(io.BytesIO(image))
    constants = _Constants(elf)
    stencils = {}
    for section in elf.iter_sections():
        if not isinstance(section, RelocationSection):
            continue
        target = elf.get_section(section["sh_info"])
        if target.name.startswith(".text."):
            name = target.name[len(".text.") :]
            stencils[name] = _stencil(elf, section, name, target.data(), constants, tables)
    for section in elf.iter_sections():  # those without any relocation
        name = section.name[len(".text.") :]
        if section.name.startswith(".text.") and name not in stencils and section.data():
            stencils[name] = Stencil(name, section.data(), ())
    return stencils, bytes(constants.data)


class _Constants:
    """Read-only data of the object, laid one section behind the other."""

    def __init__(self, elf: ELFFile) -> None:
        self.data = bytearray()
        self.offsets: dict[int, int] = {}
        for index, section in enumerate(elf.iter_sections()):
            if section.name.startswith(".rodata") and section["sh_type"] == "SHT_PROGBITS":
                align = max(16, section["sh_addralign"])
                self.data += bytes(-len(self.data) % align)
                self.offsets[index] = len(self.data)
                self.data += section.data()


def _stencil(
    elf: ELFFile, section: RelocationSection, name: str, code: bytes, constants: _Constants, tables: list[str]
) -> Stencil:
    symbols: Any = elf.get_section(section["sh_link"])
    holes = []
    for relocation in section.iter_relocations():
        symbol = symbols.get_symbol(relocation["r_info_sym"])
        kind, index, addend = _meaning(symbol, relocation["r_addend"], constants, tables)
        how = relocation["r_info_type"]
        if how not in (_R_64, _R_PC32, _R_PLT32, _R_32, _R_32S):
            raise StencilError(f"{name}: relocation {how} of {symbol.name}")
        if how == _R_32 and symbol.name.startswith("RAW."):
            raise StencilError(f"{name}: {symbol.name} would lose its sign")
        holes.append(
            Hole(relocation["r_offset"], kind, index, addend, how in (_R_PC32, _R_PLT32), how == _R_64)
        )
    code, kept = _drop_last_jump(code, holes)
    return Stencil(name, code, tuple(kept))


def _meaning(symbol: Any, addend: int, constants: _Constants, tables: list[str]) -> tuple[int, int, int]:
    name = symbol.name
    prefix, _, rest = name.partition(".")
    if prefix == "TABLE":
        return at.HOLE_TABLE, tables.index(rest), addend
    if prefix == "STUB":
        return at.HOLE_STUB, at.STUB_NAMES.index(rest), addend
    if prefix in _KINDS and rest.isdigit():
        return _KINDS[prefix], int(rest), addend
    section = symbol["st_shndx"]
    if section in constants.offsets:
        return at.HOLE_BYTES, 0, addend + constants.offsets[section] + symbol["st_value"]
    raise StencilError(f"unknown symbol {name!r}")


def _drop_last_jump(code: bytes, holes: list[Hole]) -> tuple[bytes, list[Hole]]:
    last = len(code) - 5
    for hole in holes:
        if hole.kind == at.HOLE_NEXT and hole.offset == last + 1 and code[last] == _JUMP:
            return code[:last], [h for h in holes if h is not hole]
    return code, holes
