# SPDX-License-Identifier: Apache-2.0
"""MMIO dispatch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.machine.bus import Bus
from innkeeper.spec import board
from innkeeper.spec.board import Region


class Recorder:
    def __init__(self) -> None:
        self.accesses: list[tuple[int, int, int | None]] = []

    def read(self, offset: int, size_bytes: int) -> int:
        self.accesses.append((offset, size_bytes, None))
        return 0x5A

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self.accesses.append((offset, size_bytes, value))


REGIONS = (Region(0x1000, 0x100), Region(0x2000, 0x3000), Region(0x8000, 8))


@given(st.integers(0, 0xA000), st.sampled_from([1, 2, 4, 8]), st.booleans())
def test_an_access_reaches_exactly_the_region_it_lies_in(
    address: int, size_bytes: int, is_write: bool
) -> None:
    bus, devices = Bus(), [Recorder() for _ in REGIONS]
    for region, device in zip(REGIONS, devices, strict=True):
        bus.attach(region, device)
    answered = bus.write(address, size_bytes, 7) if is_write else bus.read(address, size_bytes) == 0x5A
    hits = [
        region.base <= address and address + size_bytes <= region.base + region.size_bytes
        and address % size_bytes == 0
        for region in REGIONS
    ]  # fmt: skip
    assert answered == any(hits)
    for region, device, hit in zip(REGIONS, devices, hits, strict=True):
        expected = [(address - region.base, size_bytes, 7 if is_write else None)] if hit else []
        assert device.accesses == expected


def test_regions_must_not_share_a_page() -> None:
    bus = Bus()
    bus.attach(REGIONS[1], Recorder())
    for region in (Region(0x4000, 8), Region(0x1000, 0x1001), Region(0x9800, 8)):
        with pytest.raises(ValueError, match="region"):
            bus.attach(region, Recorder())


def test_the_boards_regions_are_disjoint_and_below_ram() -> None:
    bus = Bus()
    for region in (board.TEST, board.RTC, board.CLINT, board.PLIC, board.UART, *board.VIRTIO):
        bus.attach(region, Recorder())
        assert region.base + region.size_bytes <= board.RAM_BASE
