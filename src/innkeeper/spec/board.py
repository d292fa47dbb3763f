# SPDX-License-Identifier: Apache-2.0
"""The board: what is where and on which interrupt, as data.

It is QEMU's `virt` for riscv64, so what was built for that boots here unmodified.
Source: QEMU 10.0, docs/system/riscv/virt.rst and hw/riscv/virt.c (`virt_memmap`, enum of interrupts).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Region:
    """A range of guest-physical addresses; `irq` is the PLIC source of the device there, 0 for none."""

    base: int
    size_bytes: int
    irq: int = 0


TEST = Region(0x0010_0000, 0x1000)
RTC = Region(0x0010_1000, 0x1000, irq=11)
CLINT = Region(0x0200_0000, 0x1_0000)
PLIC = Region(0x0C00_0000, 0x60_0000)
UART = Region(0x1000_0000, 0x100, irq=10)
VIRTIO = tuple(Region(0x1000_1000 + 0x1000 * slot, 0x1000, irq=1 + slot) for slot in range(8))
RAM_BASE = 0x8000_0000

TIMEBASE_HZ = 10_000_000
PLIC_SOURCES = 95
"""Interrupt sources of the PLIC, 1..95."""
PLIC_PRIORITY_MAX = 7
UART_CLOCK_HZ = 3_686_400
MAX_HARTS = 8
MIN_MEMORY_BYTES = 64 << 20
PAGE_BYTES = 4096

POWER_OFF_VALUE = 0x5555
"""Written to the test device: power off. Source: Linux, Documentation/devicetree/bindings/power/reset."""
RESET_VALUE = 0x7777
CACHE_BLOCK_BYTES = 64
"""Block of Zicbom and Zicboz."""

KERNEL_OFFSET = 0x20_0000
"""Where a kernel is put above RAM_BASE: its text_offset, and the room that firmware has."""

BASE_ISA = "rv64i"
EXTENSIONS = (
    "i", "m", "a", "f", "d", "c",
    "zicbom", "zicboz", "zicntr", "zicond", "zicsr", "zifencei", "zihintpause", "zawrs",
    "zba", "zbb", "zbc", "zbs",
    "sstc", "svadu", "svinval", "svvptc",
)  # fmt: skip
"""Extensions that the devicetree names, in canonical order.

Of Svadu and Svade (both are implemented) only Svadu is named: the machine sets menvcfg.ADUE, so hardware
updates the A and D bits.
"""
MMU_TYPE = "riscv,sv57"
