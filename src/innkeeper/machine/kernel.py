# SPDX-License-Identifier: Apache-2.0
"""Reads what is to be started: Linux `Image` files, plain or compressed, ELF files and raw firmware.

Files come from anywhere: every header is checked before it is believed, decompression stops at the guest's
memory, and a file for another architecture is named as such. Everything wrong is a ConfigError.
"""

from __future__ import annotations

import io
import lzma
import os
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import zstandard

from innkeeper.errors import ConfigError
from innkeeper.spec.board import KERNEL_OFFSET, RAM_BASE

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

_IMAGE_HEADER = struct.Struct("<8xQQQ")
"""code0, code1, text_offset, image_size, flags.

Source: Linux, Documentation/arch/riscv/boot-image-header.rst.
"""
_IMAGE_HEADER_BYTES = 64
_MAGIC2_OFFSET, _MAGIC2 = 0x38, b"RSC\x05"
_ZBOOT = struct.Struct("<4s4sII8x8s")
"""MZ, "zimg", offset and size of the payload, name of the compression. Source: Linux, zboot-header.S."""
_PIECE_BYTES = 4096
_REMEDY = "give --kernel a riscv64 Linux Image, a compressed one, or a riscv64 ELF file"


@dataclass(frozen=True)
class Program:
    """Code to place in RAM: (address, bytes) of each part, where to start, and the end of all it occupies."""

    segments: tuple[tuple[int, bytes], ...]
    entry: int
    end: int
    is_linux: bool = False


def read_kernel(path: Path, memory_bytes: int) -> Program:
    """The kernel in `path` for a guest with `memory_bytes` of RAM; ConfigError if it is none or too large."""
    data = decompress(read_file(path, "kernel", memory_bytes), memory_bytes, path)
    program = _elf(data, path) if data[:4] == b"\x7fELF" else _linux_image(data, path)
    return _checked(program, memory_bytes, path)


def read_firmware(path: Path, memory_bytes: int) -> Program:
    """Firmware for M-mode: an ELF file, or a raw binary that starts at the beginning of RAM."""
    data = read_file(path, "firmware", memory_bytes)
    if data[:4] == b"\x7fELF":
        return _checked(_elf(data, path), memory_bytes, path)
    if len(data) < 4 or data[:2] == b"MZ" or foreign_architecture(data):
        raise ConfigError(
            f"{path} is not firmware for riscv64",
            "give --firmware OpenSBI's fw_dynamic.bin, fw_jump.bin or .elf",
        )
    return _checked(Program(((RAM_BASE, data),), RAM_BASE, RAM_BASE + len(data)), memory_bytes, path)


def read_file(path: Path, what: str, memory_bytes: int) -> bytes:
    """All of `path`; ConfigError if it cannot be read, is empty or larger than the guest's memory."""
    try:
        # Not blocking: the open of a pipe would wait for its other end.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"the {what} {path} is not a file", "name the file itself")
            data = file.read(min(status.st_size, memory_bytes) + 1)
    except OSError as error:
        raise ConfigError(
            f"the {what} {path} cannot be read: {error.strerror or error}", "check the path"
        ) from error
    if not data:
        raise ConfigError(f"the {what} {path} is empty", "the file is damaged: get it again")
    if len(data) > memory_bytes:
        raise ConfigError(
            f"the {what} {path} is larger than the guest's {memory_bytes >> 20} MiB",
            "give the guest more --memory",
        )
    return data


def decompress(data: bytes, limit_bytes: int, path: Path) -> bytes:
    """`data` as it is, or what is compressed in it: EFI zboot, gzip, xz, zstd, one inside the other too."""
    for _ in range(3):
        if data[:2] == b"MZ" and data[4:8] == b"zimg" and len(data) >= _ZBOOT.size:
            _, _, offset, size_bytes, _ = _ZBOOT.unpack_from(data)
            if offset + size_bytes > len(data):
                raise ConfigError(f"the kernel {path} is cut short", "the file is damaged: get it again")
            data = data[offset : offset + size_bytes]
        elif data[:2] == b"\x1f\x8b":
            data = _expand(zlib.decompressobj(wbits=31), data, limit_bytes, path)
        elif data[:6] == b"\xfd7zXZ\0":
            data = _expand(lzma.LZMADecompressor(), data, limit_bytes, path)
        elif data[:4] == b"\x28\xb5\x2f\xfd":
            data = _expand(zstandard.ZstdDecompressor().decompressobj(), data, limit_bytes, path)
        else:
            break
    return data


class _Decoder(Protocol):
    """What the decompressors have in common."""

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _expand(decoder: _Decoder, data: bytes, limit_bytes: int, path: Path) -> bytes:
    """All that `decoder` makes of `data`, in small pieces: a few bytes may stand for very many."""
    result = bytearray()
    try:
        for offset in range(0, len(data), _PIECE_BYTES):
            result += decoder.decompress(data[offset : offset + _PIECE_BYTES])
            if decoder.eof or len(result) > limit_bytes:
                break
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError) as error:
        raise ConfigError(
            f"the kernel {path} cannot be decompressed: {error}", "the file is damaged: get it again"
        ) from error
    if len(result) > limit_bytes:
        raise ConfigError(
            f"the kernel {path} does not fit the guest's {limit_bytes >> 20} MiB",
            "give the guest more --memory",
        )
    if not decoder.eof:
        raise ConfigError(f"the kernel {path} is cut short", "the file is damaged: get it again")
    return bytes(result)


def _linux_image(data: bytes, path: Path) -> Program:
    if len(data) < _IMAGE_HEADER_BYTES or data[_MAGIC2_OFFSET : _MAGIC2_OFFSET + 4] != _MAGIC2:
        architecture = foreign_architecture(data)
        if architecture:
            raise ConfigError(f"the kernel {path} is for {architecture}, the guest is riscv64", _REMEDY)
        raise ConfigError(
            f"{path} is not a riscv64 kernel (no Image header, not ELF, not compressed)", _REMEDY
        )
    text_offset, image_bytes, flags = _IMAGE_HEADER.unpack_from(data)
    if flags & 1:
        raise ConfigError(f"the kernel {path} is big-endian, the guest is little-endian", _REMEDY)
    if text_offset % 4096 or text_offset >= 1 << 32 or image_bytes >= 1 << 40:
        raise ConfigError(f"the header of kernel {path} is damaged", "get the file again")
    # text_offset 0 is that of a 32-bit or XIP kernel; firmware's place is kept free all the same.
    start = RAM_BASE + max(text_offset, KERNEL_OFFSET)
    occupied = max(image_bytes, len(data))
    return Program(((start, data),), start, start + occupied, is_linux=True)


def foreign_architecture(data: bytes) -> str:
    """Of which other architecture this kernel is, "" if nothing tells."""
    if data[0x38:0x3C] == b"ARM\x64":
        return "arm64"
    if data[0x202:0x206] == b"HdrS":
        return "x86"
    if data[0x24:0x28] == b"\x18\x28\x6f\x01":
        return "32-bit arm"
    if data[0x38:0x3C] == b"\xcd\x23\x82\x81":
        return "loongarch"
    return ""


def _elf(data: bytes, path: Path) -> Program:
    # Few kernels are ELF files, and loading the library costs a seventh of a VM's start.
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(io.BytesIO(data))
        machine = elf["e_machine"]
        if machine != "EM_RISCV" or elf.elfclass != 64:
            name = str(machine).removeprefix("EM_").lower()
            raise ConfigError(
                f"{path} is an ELF file for {name} ({elf.elfclass} bits), the guest is riscv64", _REMEDY
            )
        # A position-independent file, as OpenSBI's, is linked for 0 and relocates itself where it starts.
        bias = RAM_BASE if elf["e_type"] == "ET_DYN" and elf["e_entry"] < RAM_BASE else 0
        segments, end = [], 0
        for segment in elf.iter_segments("PT_LOAD"):
            address, file_bytes = segment["p_paddr"] + bias, segment["p_filesz"]
            if not segment["p_memsz"]:
                continue
            if segment["p_offset"] + file_bytes > len(data):
                raise ConfigError(f"{path} is cut short", "the file is damaged: get it again")
            segments.append((address, segment.data()))
            end = max(end, address + max(segment["p_memsz"], file_bytes))
        entry = _physical_entry(elf) + bias
    except (ELFError, struct.error, ValueError, OverflowError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path} is a damaged ELF file: {error}", "get the file again") from error
    if not segments:
        raise ConfigError(f"{path} has nothing to load", _REMEDY)
    return Program(tuple(segments), entry, end)


def _physical_entry(elf: ELFFile) -> int:
    """e_entry is virtual: translate it by the segment it lies in (vmlinux has other physical addresses)."""
    entry: int = elf["e_entry"]
    for segment in elf.iter_segments("PT_LOAD"):
        if segment["p_vaddr"] <= entry < segment["p_vaddr"] + segment["p_memsz"]:
            return entry - int(segment["p_vaddr"]) + int(segment["p_paddr"])
    return entry


def _checked(program: Program, memory_bytes: int, path: Path) -> Program:
    ram_end = RAM_BASE + memory_bytes
    outside = [
        hex(start) for start, data in program.segments if start < RAM_BASE or start + len(data) > ram_end
    ]
    if outside or program.end > ram_end or not RAM_BASE <= program.entry < ram_end or program.entry % 2:
        place = outside[0] if outside else hex(program.end)
        raise ConfigError(
            f"{path} does not fit the guest's memory {RAM_BASE:#x}..{ram_end:#x} ({place})",
            f"give the guest more --memory, or link the program for {RAM_BASE:#x}",
        )
    return program
