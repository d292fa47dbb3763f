# SPDX-License-Identifier: Apache-2.0
"""Guest RAM: bounds, reset, and that nothing is resident before it is touched."""

from __future__ import annotations

import ctypes
import os
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


def file_of(content: bytes) -> int:
    fd = os.memfd_create("memory")
    os.write(fd, content)
    return fd


def test_a_mapped_file_is_read_but_never_written() -> None:
    content = b"abc".ljust(3 * 4096, b"x")
    fd = file_of(content)
    with GuestMemory(BASE, 3 * 4096) as memory:
        memory.write(BASE, b"gone")
        memory.map_file(fd, "name")
        assert (bytes(memory.buffer), memory.mapped_from) == (content, "name")
        memory.write(BASE + 4096, b"new")
        assert os.pread(fd, 3, 4096) == b"xxx"
        memory.clear()
        assert (bytes(memory.buffer), memory.mapped_from) == (bytes(3 * 4096), None)
    os.close(fd)


def test_a_file_of_another_size_is_refused() -> None:
    fd = file_of(b"x" * 4096)
    with GuestMemory(BASE, 2 * 4096) as memory, pytest.raises(HostError, match="another size"):
        memory.map_file(fd, "name")
    os.close(fd)


@pytest.mark.skipif(sys.platform != "linux", reason="others do not tell which pages were written")
@pytest.mark.parametrize("mapped", [False, True])
def test_which_pages_were_written_is_known(mapped: bool) -> None:
    pages = 70_000  # more than are asked for at once
    fd = os.memfd_create("memory")
    os.truncate(fd, pages * 4096)
    with GuestMemory(BASE, pages * 4096) as memory:
        if mapped:
            memory.map_file(fd, "name")
        assert bytes(memory.buffer[:4096]) == bytes(4096)
        for number in (3, 4, 65535, 65536, pages - 1):
            memory.write(BASE + number * 4096 + 7, b"x")
        found = {number for run in memory.changed_pages() for number in run}
        # A page of zeroes that was only read may count as written where RAM is no file.
        assert found - {0} == {3, 4, 65535, 65536, pages - 1}
        assert not mapped or 0 not in found
    os.close(fd)
