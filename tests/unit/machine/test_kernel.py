# SPDX-License-Identifier: Apache-2.0
"""Boot files: right ones are placed where they belong, wrong ones are refused with the reason."""

from __future__ import annotations

import gzip
import lzma
import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.errors import ConfigError
from innkeeper.host.memory import GuestMemory
from innkeeper.machine.board_tree import TreeParameters
from innkeeper.machine.boot import BootConfig, load, read_initrd
from innkeeper.machine.kernel import read_firmware, read_kernel
from innkeeper.spec.board import KERNEL_OFFSET, RAM_BASE
from innkeeper.spec.riscv import PRIV_M, PRIV_S
from tests.unit.machine.conftest import linux_image
from tests.unit.machine.fdt_reader import read_fdt

MEMORY_BYTES = 64 << 20


def elf(
    *, address: int = RAM_BASE, code: bytes = b"\x13\0\0\0", machine: int = 243, entry: int | None = None,
    virtual: int | None = None, memory_bytes: int = 0x100, file_bytes: int | None = None, kind: int = 2,
) -> bytes:  # fmt: skip
    """A 64-bit little-endian ELF file with one segment."""
    virtual = address if virtual is None else virtual
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"), kind, machine, 1, virtual if entry is None else entry,
        64, 0, 0, 64, 56, 1, 0, 0, 0,
    )  # fmt: skip
    size = len(code) if file_bytes is None else file_bytes
    return header + struct.pack("<IIQQQQQQ", 1, 7, 120, virtual, address, size, memory_bytes, 8) + code


def write(path: Path, data: bytes) -> Path:
    file = path / "file"
    file.write_bytes(data)
    return file


def zboot(payload: bytes, kind: bytes) -> bytes:
    return struct.pack("<4s4sII8x8s", b"MZ\0\0", b"zimg", 64, len(payload), kind).ljust(64, b"\0") + payload


IMAGE = linux_image(bytes(range(256)) * 16, image_bytes=1 << 20)


@pytest.mark.parametrize(
    "data",
    [
        IMAGE,
        gzip.compress(IMAGE, mtime=0),
        lzma.compress(IMAGE),
        zstandard.compress(IMAGE),
        zboot(gzip.compress(IMAGE, mtime=0), b"gzip"),
        zboot(zstandard.compress(IMAGE), b"zstd"),
    ],
    ids=["plain", "gzip", "xz", "zstd", "zboot-gzip", "zboot-zstd"],
)
def test_linux_images(tmp_path: Path, data: bytes) -> None:
    program = read_kernel(write(tmp_path, data), MEMORY_BYTES)
    assert program.entry == RAM_BASE + KERNEL_OFFSET
    assert program.segments == ((program.entry, IMAGE),)
    assert program.end == program.entry + (1 << 20)


def test_elf_files(tmp_path: Path) -> None:
    program = read_kernel(write(tmp_path, elf()), MEMORY_BYTES)
    assert (program.segments, program.entry) == (((RAM_BASE, b"\x13\0\0\0"),), RAM_BASE)
    virtual = elf(address=RAM_BASE + 0x20_0000, virtual=0xFFFF_FFFF_8000_0000)
    assert read_kernel(write(tmp_path, virtual), MEMORY_BYTES).entry == RAM_BASE + 0x20_0000


def test_position_independent_firmware(tmp_path: Path) -> None:
    program = read_firmware(write(tmp_path, elf(address=0, kind=3)), MEMORY_BYTES)
    assert (program.segments, program.entry) == (((RAM_BASE, b"\x13\0\0\0"),), RAM_BASE)


ARM64 = b"\0" * 0x38 + b"ARM\x64" + b"\0" * 64
X86 = b"MZ" + b"\0" * 0x200 + b"HdrS" + b"\0" * 64


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"hello", "not a riscv64 kernel"),
        (ARM64, "is for arm64"),
        (X86, "is for x86"),
        (elf(machine=183), "for aarch64"),
        (elf(machine=62), "for x86_64"),
        (gzip.compress(IMAGE, mtime=0)[:-20], "cut short"),
        (gzip.compress(IMAGE, mtime=0)[:10] + b"\xff" * 50, "cannot be decompressed"),
        (lzma.compress(IMAGE)[:-20] + bytes(20), "cannot be decompressed"),
        (zboot(b"x" * 100, b"gzip")[:-50], "cut short"),
        (linux_image(flags=1), "big-endian"),
        (linux_image(text_offset=1 << 40), "damaged"),
        (linux_image(image_bytes=MEMORY_BYTES), "does not fit"),
        (elf(address=0x1000), "does not fit"),
        (elf(memory_bytes=MEMORY_BYTES + 1), "does not fit"),
        (elf(entry=0x10), "does not fit"),
        (elf(file_bytes=1 << 40, memory_bytes=1 << 41), "cut short"),
        (elf()[:40], "damaged|cut short|ELF"),
        (gzip.compress(bytes(MEMORY_BYTES + 1), mtime=0), "does not fit"),
    ],
)
def test_wrong_kernels(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        read_kernel(write(tmp_path, data), MEMORY_BYTES)
    assert caught.value.remedy


@given(st.binary(max_size=200), st.integers(0, 120), st.integers(0, 255))
def test_damaged_elf_files_never_escape_as_something_else(noise: bytes, position: int, byte: int) -> None:
    import tempfile

    data = bytearray(elf())
    data[position] = byte
    with tempfile.TemporaryDirectory() as folder:
        for damaged in (bytes(data), bytes(data[:position]), b"\x7fELF" + noise):
            try:
                program = read_kernel(write(Path(folder), damaged), MEMORY_BYTES)
            except ConfigError:
                continue
            for address, part in program.segments:
                assert address >= RAM_BASE and address + len(part) <= RAM_BASE + MEMORY_BYTES


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_kernel(tmp_path / "none", MEMORY_BYTES)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_kernel(tmp_path, MEMORY_BYTES)


@pytest.mark.parametrize("data", [X86, ARM64, elf(machine=62), b"MZ" + bytes(100)])
def test_wrong_firmware(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ConfigError):
        read_firmware(write(tmp_path, data), MEMORY_BYTES)


def loaded(config: BootConfig) -> tuple[GuestMemory, object]:
    memory = GuestMemory(RAM_BASE, MEMORY_BYTES)
    return memory, load(config, memory, TreeParameters(1, MEMORY_BYTES))


def test_placement(tmp_path: Path) -> None:
    kernel = write(tmp_path, IMAGE)
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"first")
    memory = GuestMemory(RAM_BASE, MEMORY_BYTES)
    config = BootConfig(kernel, (initrd, b"second"), "quiet")
    entry = load(config, memory, TreeParameters(1, MEMORY_BYTES))
    assert (entry.pc, entry.privilege) == (RAM_BASE + KERNEL_OFFSET, PRIV_S)
    assert memory.read(entry.pc, len(IMAGE)) == IMAGE
    size_bytes = int.from_bytes(memory.read(entry.devicetree + 4, 4), "big")
    tree = read_fdt(memory.read(entry.devicetree, size_bytes))
    chosen = next(node for node in tree.children if node.name == "chosen").properties
    start, end = (int.from_bytes(bytes(chosen[f"linux,initrd-{w}"]), "big") for w in ("start", "end"))  # type: ignore[arg-type]
    assert memory.read(start, end - start) == b"first\0\0\0second"
    assert start % 4096 == 0 and end <= entry.devicetree


def test_firmware_gets_the_kernels_address(tmp_path: Path) -> None:
    kernel = write(tmp_path, IMAGE)
    firmware = tmp_path / "fw_dynamic.bin"
    firmware.write_bytes(b"\x97\x02\0\0" * 64)
    memory = GuestMemory(RAM_BASE, MEMORY_BYTES)
    entry = load(BootConfig(kernel, firmware=firmware), memory, TreeParameters(1, MEMORY_BYTES))
    assert (entry.pc, entry.privilege) == (RAM_BASE, PRIV_M)
    info = struct.unpack("<6Q", memory.read(entry.dynamic_info, 48))
    assert info == (0x4942534F, 2, RAM_BASE + KERNEL_OFFSET, 1, 0, 0)


def test_what_does_not_fit_together(tmp_path: Path) -> None:
    kernel = write(tmp_path, IMAGE)
    firmware = tmp_path / "firmware"
    firmware.write_bytes(b"\x97" * (KERNEL_OFFSET + 1))
    with pytest.raises(ConfigError, match="overlap"):
        loaded(BootConfig(kernel, firmware=firmware))
    with pytest.raises(ConfigError, match="do not fit"):
        loaded(BootConfig(kernel, (bytes(62 << 20),)))
    with pytest.raises(ConfigError, match="too long"):
        loaded(BootConfig(kernel, append="x" * (3 << 20)))
    with pytest.raises(ConfigError, match="nothing to boot"):
        loaded(BootConfig(None))


def test_archives_begin_at_multiples_of_four() -> None:
    assert read_initrd((b"a", b"bcdef", b"g"), 1 << 20) == b"a\0\0\0bcdef\0\0\0g"
