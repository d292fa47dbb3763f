# SPDX-License-Identifier: Apache-2.0
"""What is put into RAM before the first instruction, and how the boot hart starts.

Layout, low to high: firmware (if any), the kernel at its text offset, room, then from the top of RAM
downwards the devicetree and the initrd: far from what the kernel allocates first.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from innkeeper.errors import ConfigError
from innkeeper.host.memory import GuestMemory
from innkeeper.machine.board_tree import TreeParameters, board_devicetree
from innkeeper.machine.kernel import Program, read_file, read_firmware, read_kernel
from innkeeper.spec import board
from innkeeper.spec.riscv import PRIV_M, PRIV_S

_DYNAMIC_INFO = struct.Struct("<6Q")
_DYNAMIC_MAGIC = 0x4942534F
"""fw_dynamic_info: magic "OSBI", version, next_addr, next_mode, options, boot_hart.

Source: OpenSBI, include/sbi/fw_dynamic.h and docs/firmware/fw_dynamic.md.
"""
_TREE_ROOM_BYTES = 2 << 20
"""The devicetree gets the last 2 MiB: firmware adds nodes to it in place."""


@dataclass(frozen=True)
class BootConfig:
    """What to boot. `initrd` are files or ready archives, put one behind the other (4-byte aligned).

    `append` is the kernel's command line. With `firmware` the boot hart starts there in M-mode.
    """

    kernel: Path | None
    initrd: Sequence[Path | bytes] = ()
    append: str = ""
    firmware: Path | None = None


@dataclass(frozen=True)
class BootEntry:
    """How the boot hart starts: pc, privilege, and the values of a1 (devicetree) and a2 (fw_dynamic_info)."""

    pc: int
    privilege: int
    devicetree: int
    dynamic_info: int = 0


def load(config: BootConfig, memory: GuestMemory, tree: TreeParameters) -> BootEntry:
    """Read the files anew and place everything into zeroed `memory`. `tree` is completed with what is placed.

    Raises ConfigError for a file that is missing, damaged, foreign or too large for the guest.
    """
    firmware = read_firmware(config.firmware, memory.size_bytes) if config.firmware else None
    kernel = read_kernel(config.kernel, memory.size_bytes) if config.kernel else None
    first = firmware or kernel
    if first is None:
        raise ConfigError("there is nothing to boot", "give an image, --kernel or --firmware")
    if firmware and kernel:
        _refuse_overlap(firmware, kernel)
    for program in (firmware, kernel):
        for address, data in program.segments if program else ():
            memory.write(address, data)
    low = max(program.end for program in (firmware, kernel) if program)
    tree_at = memory.base + memory.size_bytes - _TREE_ROOM_BYTES
    info_at = tree_at + _TREE_ROOM_BYTES - board.PAGE_BYTES
    archive = read_initrd(config.initrd, memory.size_bytes)
    initrd_at = (tree_at - len(archive)) & -board.PAGE_BYTES
    if initrd_at < low:
        raise ConfigError(
            f"kernel and initrd do not fit into {memory.size_bytes >> 20} MiB of memory",
            "give the guest more --memory",
        )
    memory.write(initrd_at, archive)
    initrd = (initrd_at, initrd_at + len(archive)) if archive else None
    blob = board_devicetree(replace(tree, append=config.append, initrd=initrd))
    if len(blob) > _TREE_ROOM_BYTES - 2 * board.PAGE_BYTES:
        raise ConfigError("the kernel command line is too long", "shorten --append")
    memory.write(tree_at, blob)
    if firmware is None:
        return BootEntry(first.entry, PRIV_S, tree_at)
    next_entry = kernel.entry if kernel else 0
    memory.write(info_at, _DYNAMIC_INFO.pack(_DYNAMIC_MAGIC, 2, next_entry, PRIV_S, 0, 0))
    return BootEntry(firmware.entry, PRIV_M, tree_at, info_at)


def read_initrd(parts: Sequence[Path | bytes], memory_bytes: int) -> bytes:
    """The parts one behind the other, each at a multiple of 4 bytes, as the kernel's unpacker wants."""
    result = bytearray()
    for part in parts:
        result += bytes(-len(result) % 4)
        result += part if isinstance(part, bytes) else read_file(part, "initrd", memory_bytes)
    return bytes(result)


def _refuse_overlap(firmware: Program, kernel: Program) -> None:
    for address, data in kernel.segments:
        for other, code in firmware.segments:
            if address < other + len(code) and other < address + len(data):
                raise ConfigError(
                    f"firmware and kernel overlap at {max(address, other):#x}",
                    f"with firmware the kernel begins at {board.RAM_BASE + board.KERNEL_OFFSET:#x} or above",
                )
