# SPDX-License-Identifier: Apache-2.0
"""Guest RAM: one anonymous mapping of this process, paid for page by page as the guest touches it."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
from collections.abc import Callable, Iterator

from innkeeper.errors import GuestError, HostError
from innkeeper.host import mapping

_MAP_NORESERVE = mapping.MAP_NORESERVE if sys.platform == "linux" else 0
"""The mmap module names it only from Python 3.13 on."""


class GuestMemory:
    """`size_bytes` of zeroed RAM at guest-physical address `base`.

    Nothing of it is resident until it is touched, and no swap is reserved for it. Satisfies `GuestRam` of
    the engines and `GuestMemory` of the devices. `read`, `write` and `view` take guest-physical addresses and
    raise `GuestError` when any byte lies outside; HostError when the host refuses the mapping.

    `written(address, size_bytes)` is told of each range that `view` hands out or `write` stores to: an engine
    that keeps translated code has to drop what was made from those bytes.
    """

    def __init__(self, base: int, size_bytes: int) -> None:
        self.base = base
        self.written: Callable[[int, int], None] | None = None
        self.mapped_from: str | None = None
        """Name of what `map_file` has mapped; None: zeroes."""
        self.size_bytes = size_bytes
        host_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if size_bytes > host_bytes:
            raise HostError(
                f"the host has {host_bytes >> 20} MiB of memory, not the guest's {size_bytes >> 20}",
                "give the guest less with --memory",
            )
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        try:
            self._mapping = mmap.mmap(-1, size_bytes, flags=flags)
        except (OSError, OverflowError, ValueError) as error:
            raise HostError(
                f"the host refuses {size_bytes >> 20} MiB of memory for the guest: {error}",
                "give the guest less with --memory",
            ) from error
        # Huge pages would make 2 MiB resident for each byte the guest touches first.
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            self._advise(mmap.MADV_NOHUGEPAGE)
        self.host_address = ctypes.addressof(ctypes.c_char.from_buffer(self._mapping))
        self._buffer = memoryview(self._mapping)

    @property
    def buffer(self) -> memoryview:
        """All of the RAM, writable bytes."""
        return self._buffer

    def _advise(self, advice: int) -> bool:
        try:
            self._mapping.madvise(advice)
        except OSError:  # a kernel built without the feature
            return False
        return True

    def view(self, address: int, size_bytes: int) -> memoryview:
        """A writable view of `size_bytes` at `address`; keep it no longer than the memory."""
        offset = address - self.base
        if offset < 0 or size_bytes < 0 or offset + size_bytes > self.size_bytes:
            raise GuestError(f"guest-physical range {address:#x}+{size_bytes:#x} is not RAM")
        if self.written is not None:
            self.written(address, size_bytes)
        return self._buffer[offset : offset + size_bytes]

    def read_view(self, address: int, size_bytes: int) -> memoryview:
        """As `view`, for who only reads: nobody is told of it."""
        offset = address - self.base
        if offset < 0 or size_bytes < 0 or offset + size_bytes > self.size_bytes:
            raise GuestError(f"guest-physical range {address:#x}+{size_bytes:#x} is not RAM")
        return self._buffer[offset : offset + size_bytes]

    def read(self, address: int, size_bytes: int) -> bytes:
        """A copy of `size_bytes` at `address`."""
        offset = address - self.base
        if offset < 0 or size_bytes < 0 or offset + size_bytes > self.size_bytes:
            raise GuestError(f"guest-physical range {address:#x}+{size_bytes:#x} is not RAM")
        return bytes(self._buffer[offset : offset + size_bytes])

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Store `data` at `address`."""
        self.view(address, len(data))[:] = data

    def map_file(self, fd: int, name: str) -> None:
        """Let all of it be what file `fd`, exactly as long, holds. Copy-on-write, read as it is touched.

        Nobody may shorten or write the file while it is mapped. `name` becomes `mapped_from`. Only on Linux.
        """
        if os.fstat(fd).st_size != self.size_bytes:
            raise HostError("a file of guest memory has another size than the memory")
        self._map_over(0, fd)
        self.mapped_from = name

    def _map_over(self, flags: int, fd: int = -1) -> None:
        flags |= mapping.MAP_PRIVATE | mapping.MAP_NORESERVE | mapping.MAP_FIXED
        protection = mapping.PROT_READ | mapping.PROT_WRITE
        try:
            mapping.map_memory(self.size_bytes, protection, flags, fd=fd, address=self.host_address)
        except OSError as error:
            raise HostError(f"the host refuses the guest's memory: {error.strerror}") from error
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            self._advise(mmap.MADV_NOHUGEPAGE)

    def changed_pages(self) -> Iterator[range]:
        """Pages that may hold something else than zeroes, or than the mapped file: ranges of page numbers."""
        return mapping.changed_pages(self.host_address, self.size_bytes)

    def clear(self) -> None:
        """Make all of it zero again and give its pages back to the host (a machine reset)."""
        if self.mapped_from is not None:
            self._map_over(mapping.MAP_ANONYMOUS)
            self.mapped_from = None
            return
        # Elsewhere MADV_DONTNEED does not promise zeroes.
        if sys.platform != "linux" or not self._advise(mmap.MADV_DONTNEED):
            chunk = bytes(1 << 20)
            for offset in range(0, self.size_bytes, len(chunk)):
                part = self._buffer[offset : offset + len(chunk)]
                part[:] = chunk[: len(part)]

    def resident_bytes(self) -> int:
        """How much of it the host holds in memory now; 0 where the host does not tell (not Linux)."""
        try:
            with open("/proc/self/smaps") as smaps:
                return _resident_bytes(smaps.read(), self.host_address, self.size_bytes)
        except OSError:
            return 0

    def close(self) -> None:
        """Unmap it. No vCPU may run any more; a view that someone still holds keeps the mapping alive."""
        self._buffer.release()
        # While somebody holds a view, the last holder frees it: unmapping under a view would crash the host.
        with contextlib.suppress(BufferError):
            self._mapping.close()

    def __enter__(self) -> GuestMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _resident_bytes(smaps: str, address: int, size_bytes: int) -> int:
    """Sum of Rss over the mappings that overlap the range, from the text of /proc/self/smaps."""
    total, inside = 0, 0
    for line in smaps.splitlines():
        head, _, rest = line.partition(" ")
        if "-" in head and ":" not in head:
            start, _, end = head.partition("-")
            inside = int(start, 16) < address + size_bytes and int(end, 16) > address
        elif inside and head == "Rss:":
            total += int(rest.split()[0]) * 1024
    return total
