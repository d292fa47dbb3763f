# SPDX-License-Identifier: Apache-2.0
"""Links an object file into code that runs wherever its bytes are put, once a few addresses are filled in.

Done when building, so that starting an engine needs neither LLVM nor a linker: to load LLVM's library takes
several times as long as everything else that the engine does then.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from innkeeper.errors import HostError

# Source: System V ABI, AMD64 supplement 1.0, table 4.9 "Relocation Types".
_R_64, _R_PC32, _R_PLT32, _R_GOTPCREL, _R_PC64, _R_GOTPCRELX, _R_REX_GOTPCRELX = 1, 2, 4, 9, 24, 41, 42
_SIZES = {_R_64: 8, _R_PC64: 8}
_GOT = (_R_GOTPCREL, _R_GOTPCRELX, _R_REX_GOTPCRELX)
_ALLOCATED, _WRITABLE = 2, 1
_UNUSED = (".eh_frame", ".note")
_JUMP_THROUGH_SLOT = b"\xff\x25"


@dataclass
class LinkedCode:
    """`code` is executed and only read. Where it is put, 8 bytes at each offset of `imports` get the address
    of the function of that name, and at each of `pointers` the value there plus the address of `code`.
    `functions` has offset and size of each function by name."""

    code: bytearray = field(default_factory=bytearray)
    imports: dict[int, str] = field(default_factory=dict)
    pointers: dict[int, int] = field(default_factory=dict)
    functions: dict[str, tuple[int, int]] = field(default_factory=dict)


def link(image: bytes) -> LinkedCode:
    """Link an x86-64 object of position-independent code without data of its own.

    HostError for what LLVM makes of our code nowhere that is known.
    """
    return _Linker(ELFFile(io.BytesIO(image))).link()


class _Linker:
    def __init__(self, elf: ELFFile) -> None:
        self._elf = elf
        self._out = LinkedCode()
        self._places: dict[int, int] = {}
        """Offset in the code of each section, by its number."""
        self._slots: dict[str | int, int] = {}
        self._jumps: dict[str, int] = {}

    def link(self) -> LinkedCode:
        for number, section in enumerate(self._elf.iter_sections()):
            if section["sh_flags"] & _ALLOCATED and not section.name.startswith(_UNUSED):
                self._place(number, section)
        for section in self._elf.iter_sections():
            if isinstance(section, RelocationSection) and section["sh_info"] in self._places:
                for relocation in section.iter_relocations():
                    self._relocate(section, relocation)
        for section in self._elf.iter_sections():
            if isinstance(section, SymbolTableSection):
                self._name_functions(section)
        return self._out

    def _place(self, number: int, section: Any) -> None:
        is_constant = not section["sh_flags"] & _WRITABLE or section.name.startswith(".data.rel.ro")
        if section["sh_size"] and (section["sh_type"] == "SHT_NOBITS" or not is_constant):
            raise HostError(f"the engine's object has variables in {section.name}", "report it")
        self._places[number] = self._append(section.data(), max(16, section["sh_addralign"]))

    def _append(self, data: bytes, alignment: int = 8) -> int:
        code = self._out.code
        code += bytes(-len(code) % alignment)
        offset = len(code)
        code += data
        return offset

    def _relocate(self, section: RelocationSection, relocation: Any) -> None:
        kind, addend = relocation["r_info_type"], relocation["r_addend"]
        place = self._places[section["sh_info"]] + relocation["r_offset"]
        symbols: Any = self._elf.get_section(section["sh_link"])
        symbol = symbols.get_symbol(relocation["r_info_sym"])
        target = self._target(symbol)
        if kind == _R_64 and target is not None:
            self._out.pointers[place] = target + addend
        elif kind in _GOT:
            self._fill(place, 4, self._slot(symbol, target) + addend - place)
        elif kind in (_R_PC32, _R_PLT32, _R_PC64) and (target is not None or kind == _R_PLT32):
            to = self._jump(symbol) if target is None else target
            self._fill(place, _SIZES.get(kind, 4), to + addend - place)
        else:
            raise HostError(f"the engine's object has relocation {kind} of {symbol.name}", "report it")

    def _target(self, symbol: Any) -> int | None:
        """Where a symbol is in the code; None for one of another library."""
        where = symbol["st_shndx"]
        if where == "SHN_UNDEF":
            return None
        if where not in self._places:
            raise HostError(f"the engine's object refers to {symbol.name}, which is nowhere", "report it")
        return self._places[where] + int(symbol["st_value"])

    def _slot(self, symbol: Any, target: int | None) -> int:
        """The place of 8 bytes that hold the address of a symbol."""
        key = symbol.name if target is None else target
        if key not in self._slots:
            self._slots[key] = place = self._append(bytes(8))
            if target is None:
                self._out.imports[place] = symbol.name
            else:
                self._out.pointers[place] = target
        return self._slots[key]

    def _jump(self, symbol: Any) -> int:
        """The place of a jump to a function of another library, which may be far away."""
        if symbol.name not in self._jumps:
            slot = self._slot(symbol, None)
            place = self._append(_JUMP_THROUGH_SLOT + bytes(4), 16)
            self._fill(place + len(_JUMP_THROUGH_SLOT), 4, slot - place - 6)
            self._jumps[symbol.name] = place
        return self._jumps[symbol.name]

    def _fill(self, place: int, size_bytes: int, value: int) -> None:
        self._out.code[place : place + size_bytes] = value.to_bytes(size_bytes, "little", signed=True)

    def _name_functions(self, section: SymbolTableSection) -> None:
        for symbol in section.iter_symbols():
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] in self._places:
                offset = self._places[symbol["st_shndx"]] + int(symbol["st_value"])
                self._out.functions[symbol.name] = (offset, int(symbol["st_size"]))
