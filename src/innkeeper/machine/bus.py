# SPDX-License-Identifier: Apache-2.0
"""MMIO dispatch: which device answers a guest-physical address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from innkeeper.spec.board import PAGE_BYTES, Region

_PAGE_SHIFT = PAGE_BYTES.bit_length() - 1


class MmioDevice(Protocol):
    """What the bus needs of a device. `offset` is relative to the region; sizes are 1, 2, 4 or 8 bytes."""

    def read(self, offset: int, size_bytes: int) -> int:
        """The value at `offset`, unsigned."""

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Store `value` at `offset`."""


_Entry = tuple[int, int, Callable[[int, int], int], Callable[[int, int, int], None]]


class Bus:
    """Regions by page number, so that a look-up is one dictionary access.

    Two regions never share a page, and a region begins at a page boundary: else `attach` raises ValueError.
    """

    def __init__(self) -> None:
        self._pages: dict[int, _Entry] = {}

    def attach(self, region: Region, device: MmioDevice) -> None:
        """Let `device` answer for `region`."""
        if region.base % PAGE_BYTES:
            raise ValueError(f"region at {region.base:#x} does not begin at a page boundary")
        end = region.base + region.size_bytes
        pages = range(region.base >> _PAGE_SHIFT, (end - 1 >> _PAGE_SHIFT) + 1)
        if any(page in self._pages for page in pages):
            raise ValueError(f"region at {region.base:#x} overlaps another one")
        entry = (region.base, end, device.read, device.write)
        self._pages.update(dict.fromkeys(pages, entry))

    def read(self, address: int, size_bytes: int) -> int | None:
        """What the device at `address` gives; None (an access fault) if there is none or it is misaligned."""
        entry = self._pages.get(address >> _PAGE_SHIFT)
        if entry is None or address & (size_bytes - 1) or address + size_bytes > entry[1]:
            return None
        return entry[2](address - entry[0], size_bytes)

    def write(self, address: int, size_bytes: int, value: int) -> bool:
        """Store to the device at `address`; False (an access fault) if there is none or it is misaligned."""
        entry = self._pages.get(address >> _PAGE_SHIFT)
        if entry is None or address & (size_bytes - 1) or address + size_bytes > entry[1]:
            return False
        entry[3](address - entry[0], size_bytes, value)
        return True
