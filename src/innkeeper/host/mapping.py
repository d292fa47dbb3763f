# SPDX-License-Identifier: Apache-2.0
"""mmap(2) where Python's `mmap` module is not enough: at a fixed address, executable, in the low 2 GiB.

And what the host knows of pages that are mapped privately. Source: Linux, man 2 mmap,
Documentation/admin-guide/mm/pagemap.rst.
"""

from __future__ import annotations

import ctypes
import functools
import os
from array import array
from collections.abc import Iterator

PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC = 0, 1, 2, 4
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_32BIT, MAP_NORESERVE = 1, 2, 0x10, 0x20, 0x40, 0x4000
_FAILED = (1 << 64) - 1
_PAGE_BYTES = 4096
_PRESENT, _SWAPPED, _OF_A_FILE = 1 << 63, 1 << 62, 1 << 61
_ENTRIES_AT_ONCE = 1 << 16


@functools.lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_size_t
    libc.mmap.argtypes = [ctypes.c_size_t, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    libc.mprotect.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
    return libc


def map_memory(
    size_bytes: int, protection: int, flags: int, *, fd: int = -1, offset: int = 0, address: int = 0
) -> int:
    """Map memory and give its address; with MAP_FIXED in `flags`, at `address`. OSError: the host refuses."""
    mapped: int = _libc().mmap(address, size_bytes, protection, flags, fd, offset)
    if mapped == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return mapped


def unmap_memory(address: int, size_bytes: int) -> None:
    """Unmap; nobody may use it any more."""
    _libc().munmap(address, size_bytes)


def protect_memory(address: int, size_bytes: int, protection: int) -> None:
    """Change the protection of whole pages. OSError if the host refuses."""
    if size_bytes and _libc().mprotect(address, size_bytes, protection):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def changed_pages(address: int, size_bytes: int) -> Iterator[range]:
    """Pages of a private mapping that may differ from what was mapped: ranges of page numbers, ascending.

    All of them where the host does not tell.
    """
    count = size_bytes // _PAGE_BYTES
    try:
        fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield range(count)
        return
    try:
        for first in range(0, count, _ENTRIES_AT_ONCE):
            wanted = min(_ENTRIES_AT_ONCE, count - first)
            data = os.pread(fd, 8 * wanted, (address // _PAGE_BYTES + first) * 8)
            if len(data) != 8 * wanted:
                yield range(first, count)
                return
            yield from _runs(array("Q", data), first)
    finally:
        os.close(fd)


def _runs(entries: array[int], first: int) -> Iterator[range]:
    start = -1
    for number, entry in enumerate(entries, first):
        changed = entry & (_PRESENT | _SWAPPED) and not entry & _OF_A_FILE
        if changed and start < 0:
            start = number
        elif not changed and start >= 0:
            yield range(start, number)
            start = -1
    if start >= 0:
        yield range(start, first + len(entries))
