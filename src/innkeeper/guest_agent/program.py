# SPDX-License-Identifier: Apache-2.0
"""Builds the agent: its functions through LLVM, linked to fixed addresses, as a static ELF program."""

from __future__ import annotations

import io
import struct

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

import innkeeper.guest_agent.loop  # noqa: F401  (and with it all of the agent's functions)
from innkeeper.codegen.llvm import compile_riscv_object
from innkeeper.codegen.native import compile_functions
from innkeeper.guest_agent import layout
from innkeeper.guest_agent.subset import AGENT
from innkeeper.isa.riscv.assembler import assemble

_START = "mv a0, sp; andi sp, sp, -16; auipc ra, 0; jalr ra, 0(ra); ebreak"
_CALLED_BY_START = (8, "agent_main")
_SYSTEM_CALL = """
mv a7, a0; mv a0, a1; mv a1, a2; mv a2, a3; mv a3, a4; mv a4, a5; mv a5, a6; ecall; ret
"""
_CLONE_PROCESS = """
mv a5, a2; li a2, 0; li a3, 0; li a4, 0; li a7, 220; ecall
beqz a0, child
ret
child: mv a0, a5; auipc ra, 0; jalr ra, 0(ra); ebreak
"""
_CALLED_BY_CLONE = (36, "child_entry")
"""Where the call stands in _CLONE_PROCESS."""
_MEMORY = "".join(
    f"define internal i64 @load{bits}(i64 %a) alwaysinline {{ %p = inttoptr i64 %a to ptr\n"
    f"%v = load i{bits}, ptr %p, align 1\n{_widen}ret i64 %w }}\n"
    f"define internal i64 @store{bits}(i64 %a, i64 %w) alwaysinline {{ %p = inttoptr i64 %a to ptr\n"
    f"{_narrow}store i{bits} %v, ptr %p, align 1\nret i64 0 }}\n"
    for bits in (8, 16, 32)
    for _widen in (f"%w = zext i{bits} %v to i64\n",)
    for _narrow in (f"%v = trunc i64 %w to i{bits}\n",)
)
_SURROUNDINGS = """
define internal i64 @load64(i64 %a) alwaysinline { %p = inttoptr i64 %a to ptr
%v = load i64, ptr %p, align 1
ret i64 %v }
define internal i64 @store64(i64 %a, i64 %v) alwaysinline { %p = inttoptr i64 %a to ptr
store i64 %v, ptr %p, align 1
ret i64 0 }
declare i64 @system_call(i64, i64, i64, i64, i64, i64, i64)
declare i64 @clone_process(i64, i64, i64)
attributes #0 = { nounwind optsize "no-builtins" "no-jump-tables"="true" }
"""
_PAGE_BYTES = 4096
_ELF_HEADER_BYTES, _PROGRAM_HEADER_BYTES, _SEGMENTS = 64, 56, 3
_R_CALL, _R_CALL_PLT, _R_PCREL_HI20, _R_PCREL_LO12_I, _R_PCREL_LO12_S = 18, 19, 23, 24, 25
"""Source: riscv-elf-psabi, "Relocations"."""


def build() -> bytes:
    """The agent as an ELF program for riscv64 Linux. HostError if this LLVM has no RISC-V target."""
    ir = compile_functions(AGENT, {}, ("agent_main", "child_entry")) + _MEMORY + _SURROUNDINGS
    return _Linker(compile_riscv_object(ir)).program()


class _Linker:
    """Places the object's code and constants, and the few functions that LLVM cannot write."""

    def __init__(self, image: bytes) -> None:
        self._object = ELFFile(io.BytesIO(image))
        self._base = layout.CODE + _ELF_HEADER_BYTES + _SEGMENTS * _PROGRAM_HEADER_BYTES
        self._content = bytearray()
        self._symbols: dict[str, int] = {}
        self._sections: dict[int, int] = {}
        """Index of a section of the object: its address."""

    def program(self) -> bytes:
        """The whole file."""
        start = self._place(assemble(_START, 0))
        self._symbols["system_call"] = self._place(assemble(_SYSTEM_CALL, 0))
        clone = self._symbols["clone_process"] = self._place(assemble(_CLONE_PROCESS, 0))
        for index, section in enumerate(self._object.iter_sections()):
            if section.name.startswith((".text", ".rodata", ".srodata")) and section["sh_size"]:
                self._sections[index] = self._place(section.data())
        for symbol in self._symbol_table().iter_symbols():
            if symbol["st_shndx"] in self._sections and symbol.name:
                self._symbols[symbol.name] = self._sections[symbol["st_shndx"]] + symbol["st_value"]
        for address, (offset, name) in ((start, _CALLED_BY_START), (clone, _CALLED_BY_CLONE)):
            self._put_call(address + offset, self._symbols[name])
        for section in self._object.iter_sections():
            if isinstance(section, RelocationSection) and section["sh_info"] in self._sections:
                self._relocate(section)
        return self._file(start)

    def _symbol_table(self) -> SymbolTableSection:
        table = self._object.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            raise ValueError("LLVM's object has no symbols")
        return table

    def _place(self, content: bytes) -> int:
        self._content += bytes(-(self._base + len(self._content)) % 16)
        address = self._base + len(self._content)
        self._content += content
        return address

    def _relocate(self, section: RelocationSection) -> None:
        symbols = self._symbol_table()
        base = self._sections[section["sh_info"]]
        high: dict[int, int] = {}
        """Address of an auipc: what it is the high part of."""
        relocations = [
            (
                base + item["r_offset"],
                item["r_info_type"],
                symbols.get_symbol(item["r_info_sym"]),
                item["r_addend"],
            )
            for item in section.iter_relocations()
        ]
        for place, kind, symbol, addend in relocations:
            target = self._address_of(symbol) + addend
            if kind in (_R_CALL, _R_CALL_PLT):
                self._put_call(place, target)
            elif kind == _R_PCREL_HI20:
                high[place] = target - place
                self._patch(place, (target - place + 0x800) & 0xFFFFF000)
            elif kind not in (_R_PCREL_LO12_I, _R_PCREL_LO12_S):
                raise ValueError(f"the agent has a relocation of type {kind}, which nobody expected")
        for place, kind, symbol, _ in relocations:
            if kind == _R_PCREL_LO12_I:
                self._patch(place, (high[self._address_of(symbol)] & 0xFFF) << 20)
            elif kind == _R_PCREL_LO12_S:
                low = high[self._address_of(symbol)] & 0xFFF
                self._patch(place, low >> 5 << 25 | (low & 31) << 7)

    def _address_of(self, symbol: object) -> int:
        name, index, value = symbol.name, symbol["st_shndx"], symbol["st_value"]  # type: ignore[attr-defined, index]
        if index in self._sections:
            return self._sections[index] + int(value)
        return self._symbols[name]

    def _put_call(self, place: int, target: int) -> None:
        """auipc ra, then jalr ra."""
        distance = target - place
        self._patch(place, (distance + 0x800) & 0xFFFFF000)
        self._patch(place + 4, (distance & 0xFFF) << 20)

    def _patch(self, place: int, bits: int) -> None:
        at = place - self._base
        word = struct.unpack_from("<I", self._content, at)[0]
        struct.pack_into("<I", self._content, at, word | bits)

    def _file(self, entry: int) -> bytes:
        """Code (read, execute), strings (read), and room (read, write). Spec: ELF-64 1.5, riscv-elf-psabi"""
        code_bytes = self._base - layout.CODE + len(self._content)
        texts = layout.texts()
        texts_at = -(-code_bytes // _PAGE_BYTES) * _PAGE_BYTES
        segments = [
            (5, 0, layout.CODE, code_bytes, code_bytes),
            (4, texts_at, layout.TEXTS, len(texts), len(texts)),
            (6, 0, layout.DATA, 0, layout.DATA_BYTES),
        ]
        ident = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)
        has_compressed, exec_type, machine = 1, 2, 243
        head = ident + struct.pack(
            "<HHIQQQIHHHHHH", exec_type, machine, 1, entry, _ELF_HEADER_BYTES, 0, has_compressed,
            _ELF_HEADER_BYTES, _PROGRAM_HEADER_BYTES, _SEGMENTS, 0, 0, 0,
        )  # fmt: skip
        for flags, offset, address, file_bytes, memory_bytes in segments:
            sizes = (file_bytes, memory_bytes, _PAGE_BYTES)
            head += struct.pack("<IIQQQQQQ", 1, flags, offset, address, address, *sizes)
        return (head + self._content).ljust(texts_at, b"\0") + texts
