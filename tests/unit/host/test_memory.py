# SPDX-License-Identifier: Apache-2.0
"""Guest RAM: bounds, reset, and that nothing is resident before it is touched."""

from __future__ import annotations

import ctypes
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.errors import GuestError, HostError
from innkeeper.host.memory import GuestMemory

BASE = 0x8000_0000


@given(st.integers(-10, 5000), st.integers(-2, 5000))
def test_exactly_the_ram_is_reachable(offset: int, size_bytes: int) -> None:
    with GuestMemory(BASE, 4096) as memory:
        inside = offset >= 0 and size_bytes >= 0 and offset + size_bytes <= 4096
        for access in (memory.view, memory.read):
            if inside:
                assert len(access(BASE + offset, size_bytes)) == size_bytes
            else:
                with pytest.raises(GuestError):
                    access(BASE + offset, size_bytes)


@pytest.mark.parametrize("address", [0, (1 << 64) - 1, BASE + 4096, -BASE])
def test_wild_addresses(address: int) -> None:
    with GuestMemory(BASE, 4096) as memory, pytest.raises(GuestError):
        memory.write(address, b"x")


def test_host_address_and_views_are_the_same_bytes() -> None:
    with GuestMemory(BASE, 1 << 20) as memory:
        memory.write(BASE + 5, b"hello")
        assert ctypes.string_at(memory.host_address + 5, 5) == b"hello"
        memory.view(BASE + 5, 1)[:] = b"j"
        assert bytes(memory.buffer[5:10]) == b"jello"


def test_who_keeps_translated_code_hears_of_writes() -> None:
    heard: list[tuple[int, int]] = []
    with GuestMemory(BASE, 4096) as memory:
        memory.written = lambda address, size_bytes: heard.append((address, size_bytes))
        memory.read(BASE, 8)
        memory.write(BASE + 8, b"abc")
        memory.view(BASE + 16, 4)
        with pytest.raises(GuestError):
            memory.view(BASE + 4095, 4)
    assert heard == [(BASE + 8, 3), (BASE + 16, 4)]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells")
def test_only_what_is_touched_is_resident() -> None:
    size_bytes = 8 << 30
    with GuestMemory(BASE, size_bytes) as memory:
        assert memory.resident_bytes() < 1 << 20
        for offset in range(0, size_bytes, size_bytes // 8):
            memory.write(BASE + offset, b"x")
        # One page for each byte touched, with room for how the kernel faults around; not 2 MiB each.
        assert 8 * 4096 <= memory.resident_bytes() < 1 << 20
        memory.clear()
        assert memory.resident_bytes() < 1 << 20
        assert memory.read(BASE, 1) == b"\0"


def test_what_the_host_refuses() -> None:
    with pytest.raises(HostError, match="the host has"):
        GuestMemory(BASE, 1 << 62)


def test_a_view_outlives_close() -> None:
    memory = GuestMemory(BASE, 4096)
    view = memory.view(BASE, 4)
    memory.close()
    view[:] = b"safe"
    assert bytes(view) == b"safe"
