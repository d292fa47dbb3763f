# SPDX-License-Identifier: Apache-2.0
"""Compiles a region, and makes `RegionCode` of the object file that LLVM gives."""

from __future__ import annotations

import io
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from innkeeper.codegen import layout as at
from innkeeper.codegen.llvm import compile_object
from innkeeper.codegen.region_code import RegionCode
from innkeeper.codegen.region_flow import Flow, with_loop_entries
from innkeeper.codegen.region_ir import region_ir
from innkeeper.codegen.region_shape import LIMIT_INSTRUCTIONS, Shape, shape_of
from innkeeper.codegen.stencil import StencilError

_R_PC32, _R_PLT32 = 2, 4
_PC_RELATIVE = (_R_PC32, _R_PLT32)


def compile_region(
    page: bytes, entries: tuple[int, ...], limit: int = LIMIT_INSTRUCTIONS
) -> RegionCode | None:
    """Compile the region of `page` (its 4096 bytes) around `entries`, of up to `limit` instructions; None if
    there is nothing to gain."""
    shape = with_loop_entries(shape_of(page, entries, limit))
    if not shape.entries:
        return None
    return read_region(compile_object(region_ir(shape), static=False), shape)


def read_region(image: bytes, shape: Shape) -> RegionCode:
    """The region in an object file made from `region_ir(shape)`."""
    elf = ELFFile(io.BytesIO(image))
    code, bases = _lay_out(elf)
    stubs: list[tuple[int, int, int]] = []
    entries = {}
    for section in elf.iter_sections():
        if isinstance(section, RelocationSection) and section["sh_info"] in bases:
            _relocate(elf, section, code, bases, stubs)
        if section["sh_type"] == "SHT_SYMTAB":
            symbols: Any = section
            for symbol in symbols.iter_symbols():
                if symbol.name.startswith("entry_"):
                    entries[int(symbol.name[6:])] = bases[symbol["st_shndx"]] + symbol["st_value"]
    places = tuple(sorted(entries.items()))
    return RegionCode(bytes(code), tuple(stubs), places, shape.lines, Flow(shape).holds())


def _lay_out(elf: ELFFile) -> tuple[bytearray, dict[int, int]]:
    """Text and constants, one behind the other; where each section begins, by its index."""
    code, bases = bytearray(), {}
    for wanted in (".text", ".rodata"):
        for index, section in enumerate(elf.iter_sections()):
            if section.name.startswith(wanted) and section["sh_type"] == "SHT_PROGBITS":
                code += bytes(-len(code) % max(16, section["sh_addralign"]))
                bases[index] = len(code)
                code += section.data()
    return code, bases


def _relocate(
    elf: ELFFile,
    section: RelocationSection,
    code: bytearray,
    bases: dict[int, int],
    stubs: list[tuple[int, int, int]],
) -> None:
    symbols: Any = elf.get_section(section["sh_link"])
    for relocation in section.iter_relocations():
        symbol = symbols.get_symbol(relocation["r_info_sym"])
        if relocation["r_info_type"] not in _PC_RELATIVE:
            raise StencilError(f"region: relocation {relocation['r_info_type']} of {symbol.name}")
        place = bases[section["sh_info"]] + relocation["r_offset"]
        prefix, _, name = symbol.name.partition(".")
        if prefix == "STUB":
            stubs.append((place, at.STUB_NAMES.index(name), relocation["r_addend"]))
            continue
        if symbol["st_shndx"] not in bases:
            raise StencilError(f"region: unknown symbol {symbol.name!r}")
        target = bases[symbol["st_shndx"]] + symbol["st_value"] + relocation["r_addend"]
        code[place : place + 4] = (target - place & 0xFFFF_FFFF).to_bytes(4, "little")
