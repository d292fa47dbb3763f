# SPDX-License-Identifier: Apache-2.0
"""Memory for machine code, and calling it.

Memory is never writable and executable at one address: an area of code has two mappings of one memory file.
All areas lie in the low 2 GiB, where stencils reach them with 32-bit addresses.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from innkeeper.errors import HostError

_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_SHARED, _MAP_PRIVATE, _MAP_ANONYMOUS, _MAP_32BIT, _MAP_NORESERVE = 1, 2, 0x20, 0x40, 0x4000
_FAILED = (1 << 64) - 1


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_size_t
    libc.mmap.argtypes = [ctypes.c_size_t, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    return libc


def _map(size_bytes: int, protection: int, flags: int, fd: int = -1) -> int:
    address: int = _libc().mmap(0, size_bytes, protection, flags, fd, 0)
    if address == _FAILED:
        reason = os.strerror(ctypes.get_errno())
        raise HostError(f"the host refused {size_bytes >> 20} MiB of memory for code: {reason}")
    return address


class DataArea:
    """Zeroed memory outside Python's heap; resident only where touched. `low`: in the low 2 GiB."""

    def __init__(self, size_bytes: int, *, low: bool = False) -> None:
        flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE | (_MAP_32BIT if low else 0)
        self.size_bytes = size_bytes
        self.address = _map(size_bytes, _PROT_READ | _PROT_WRITE, flags)

    @property
    def words(self) -> memoryview:
        """All of it as unsigned 64-bit words."""
        array = (ctypes.c_uint64 * (self.size_bytes // 8)).from_address(self.address)
        return memoryview(array).cast("B").cast("Q")

    def write(self, offset: int, data: bytes) -> None:
        """Copy `data` to `offset`."""
        if offset < 0 or offset + len(data) > self.size_bytes:
            raise ValueError("outside the area")
        ctypes.memmove(self.address + offset, data, len(data))

    def close(self) -> None:
        """Unmap; views of it must not be used any more."""
        _libc().munmap(self.address, self.size_bytes)


class CodeArea:
    """Memory that is executable at `address` (low 2 GiB) and writable `write_offset` bytes away."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        try:
            fd = os.memfd_create("innkeeper-code", os.MFD_CLOEXEC)
        except (AttributeError, OSError) as error:
            raise HostError(f"the host has no memory files: {error}", "use --engine reference") from error
        try:
            os.ftruncate(fd, size_bytes)
            self._writable = _map(size_bytes, _PROT_READ | _PROT_WRITE, _MAP_SHARED | _MAP_NORESERVE, fd)
            flags = _MAP_SHARED | _MAP_32BIT | _MAP_NORESERVE
            self.address = _map(size_bytes, _PROT_READ | _PROT_EXEC, flags, fd)
        finally:
            os.close(fd)

    @property
    def write_offset(self) -> int:
        """What to add to an executable address to write there (modulo 2**64)."""
        return (self._writable - self.address) & (1 << 64) - 1

    def close(self) -> None:
        """Unmap both; nothing of it may be running."""
        _libc().munmap(self.address, self.size_bytes)
        _libc().munmap(self._writable, self.size_bytes)


def callable_at(address: int, parameters: int, *, releases_gil: bool) -> Callable[..., int]:
    """A C function of so many 64-bit words that returns one. Short ones need not release the GIL."""
    factory = ctypes.CFUNCTYPE if releases_gil else ctypes.PYFUNCTYPE
    function: Callable[..., int] = factory(ctypes.c_uint64, *[ctypes.c_uint64] * parameters)(address)
    return function


def symbol_address(name: str) -> int:
    """Address of a function of the C library."""
    function = getattr(ctypes.CDLL(None), name)
    return ctypes.cast(function, ctypes.c_void_p).value or 0
