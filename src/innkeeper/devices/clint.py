# SPDX-License-Identifier: Apache-2.0
"""Core-local interruptor: software interrupts and the machine timer, at the offsets of SiFive's CLINT.

The time and the comparison belong to the hart's engine, which sees `mtime >= mtimecmp` without leaving native
code; this device is only the window onto them.

Spec: RISC-V ACLINT 1.0-rc4, sections 2 "Machine-level Timer Device" and 3 "Machine-level Software Interrupt
Device", and the table of SiFive CLINT compatibility in section 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

from innkeeper.devices.saved import require

_MSIP_BASE, _MTIMECMP_BASE, _MTIME = 0x0000, 0x4000, 0xBFF8
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF
_MASK_32 = 0xFFFF_FFFF


@dataclass
class ClintState:
    """`msip[hart]` is 0 or 1. mtimecmp and mtime are part of the harts' state."""

    msip: list[int]


class Clint:
    """Windows onto msip, mtimecmp (ticks) and mtime (ticks) of `hart_count` harts.

    mtime is read-only here: time comes from the machine's clock. Accesses are 4 or 8 bytes and naturally
    aligned; others, and holes, read 0 and write nothing.
    """

    def __init__(
        self,
        *,
        hart_count: int,
        set_msip: Callable[[int, int], None],
        set_mtimecmp: Callable[[int, int], None],
        get_mtimecmp: Callable[[int], int],
        time_ticks: Callable[[], int],
    ) -> None:
        self._hart_count = hart_count
        self._set_msip = set_msip
        self._set_mtimecmp = set_mtimecmp
        self._get_mtimecmp = get_mtimecmp
        self._time_ticks = time_ticks
        self.state = ClintState([0] * hart_count)

    def reset(self) -> None:
        """Clear every msip and set every mtimecmp to the far end of time."""
        self.state = ClintState([0] * self._hart_count)
        for hart in range(self._hart_count):
            self._set_msip(hart, 0)
            self._set_mtimecmp(hart, _MASK_64)

    def restore(self, state: ClintState) -> None:
        """Go on from there; the harts have their lines and timers. ConfigError if it cannot be."""
        levels = state.msip
        require(len(levels) == self._hart_count and set(levels) <= {0, 1}, "the CLINT's software interrupts")
        self.state = state

    def read(self, offset: int, size_bytes: int) -> int:
        if size_bytes not in (4, 8) or offset % size_bytes:
            return 0
        if _MTIME <= offset < _MTIME + 8:
            return _part(self._time_ticks(), offset, size_bytes)
        if _MTIMECMP_BASE <= offset < _MTIMECMP_BASE + 8 * self._hart_count:
            return _part(self._get_mtimecmp((offset - _MTIMECMP_BASE) >> 3), offset, size_bytes)
        hart = offset >> 2
        if hart >= self._hart_count:
            return 0
        low = self.state.msip[hart]
        if size_bytes == 8 and hart + 1 < self._hart_count:
            low |= self.state.msip[hart + 1] << 32
        return low

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        if size_bytes not in (4, 8) or offset % size_bytes:
            return
        if _MTIMECMP_BASE <= offset < _MTIMECMP_BASE + 8 * self._hart_count:
            hart = (offset - _MTIMECMP_BASE) >> 3
            self._set_mtimecmp(hart, _replace(self._get_mtimecmp, hart, offset, size_bytes, value))
        elif offset < 4 * self._hart_count:
            self._write_msip(offset >> 2, value & 1)
            if size_bytes == 8 and (offset >> 2) + 1 < self._hart_count:
                self._write_msip((offset >> 2) + 1, value >> 32 & 1)

    def _write_msip(self, hart: int, level: int) -> None:
        self.state.msip[hart] = level
        self._set_msip(hart, level)


def _part(value: int, offset: int, size_bytes: int) -> int:
    """The 4 or 8 bytes at `offset` of a 64-bit register."""
    return value & _MASK_64 if size_bytes == 8 else value >> 8 * (offset & 4) & _MASK_32


def _replace(current: Callable[[int], int], hart: int, offset: int, size_bytes: int, value: int) -> int:
    if size_bytes == 8:
        return value & _MASK_64
    shift = 8 * (offset & 4)
    return current(hart) & ~(_MASK_32 << shift) & _MASK_64 | (value & _MASK_32) << shift
