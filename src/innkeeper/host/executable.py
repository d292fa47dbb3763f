# SPDX-License-Identifier: Apache-2.0
"""Memory for machine code, and calling it.

Memory is never writable and executable at one address: an area of code has two mappings of one memory file.
All areas lie in the low 2 GiB, where stencils reach them with 32-bit addresses.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping

from innkeeper.errors import HostError
from innkeeper.host import mapping


def _map(size_bytes: int, protection: int, flags: int, fd: int = -1) -> int:
    try:
        return mapping.map_memory(size_bytes, protection, flags, fd=fd)
    except OSError as error:
        raise HostError(
            f"the host refused {size_bytes >> 20} MiB of memory for code: {error.strerror}"
        ) from error


class DataArea:
    """Zeroed memory outside Python's heap; resident only where touched. `low`: in the low 2 GiB."""

    def __init__(self, size_bytes: int, *, low: bool = False) -> None:
        flags = mapping.MAP_PRIVATE | mapping.MAP_ANONYMOUS | mapping.MAP_NORESERVE
        flags |= mapping.MAP_32BIT if low else 0
        self.size_bytes = size_bytes
        self.address = _map(size_bytes, mapping.PROT_READ | mapping.PROT_WRITE, flags)

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
        mapping.unmap_memory(self.address, self.size_bytes)


class CodeArea:
    """Memory that is executable at `address` (low 2 GiB) and writable `write_offset` bytes away.

    After a fork both processes see the same memory: what lies before `freeze` is shared and can be written by
    nobody, what lies behind is the parent's, and the child calls `separate` to have its own.
    """

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        fd = _memory_file(size_bytes)
        try:
            shared = mapping.MAP_SHARED | mapping.MAP_NORESERVE
            self._writable = _map(size_bytes, mapping.PROT_READ | mapping.PROT_WRITE, shared, fd)
            flags = shared | mapping.MAP_32BIT
            self.address = _map(size_bytes, mapping.PROT_READ | mapping.PROT_EXEC, flags, fd)
        finally:
            os.close(fd)

    @property
    def write_offset(self) -> int:
        """What to add to an executable address to write there (modulo 2**64)."""
        return (self._writable - self.address) & (1 << 64) - 1

    def freeze(self, used_bytes: int) -> None:
        """Let nobody write the first `used_bytes` (whole pages) any more, to share them with a child."""
        try:
            mapping.protect_memory(self._writable, used_bytes, mapping.PROT_NONE)
        except OSError as error:
            raise HostError(f"the host does not protect memory for code: {error.strerror}") from error

    def separate(self, shared_bytes: int, kept: bytes = b"") -> None:
        """Have memory of one's own behind `shared_bytes` (whole pages), zeroes that begin with `kept`."""
        size_bytes = self.size_bytes - shared_bytes
        fd = _memory_file(size_bytes)
        try:
            os.pwrite(fd, kept, 0)
            flags = mapping.MAP_SHARED | mapping.MAP_NORESERVE | mapping.MAP_FIXED
            for start, protection in (
                (self._writable, mapping.PROT_READ | mapping.PROT_WRITE),
                (self.address, mapping.PROT_READ | mapping.PROT_EXEC),
            ):
                mapping.map_memory(size_bytes, protection, flags, fd=fd, address=start + shared_bytes)
        except OSError as error:
            raise HostError(f"the host refused memory for code: {error.strerror}") from error
        finally:
            os.close(fd)

    def read(self, size_bytes: int) -> bytes:
        """The first `size_bytes` of the code."""
        return ctypes.string_at(self.address, size_bytes)

    def close(self) -> None:
        """Unmap both; nothing of it may be running."""
        mapping.unmap_memory(self.address, self.size_bytes)
        mapping.unmap_memory(self._writable, self.size_bytes)


class NativeCode:
    """Linked code in memory of its own: executed and read, written by nobody after it is made.

    Before that 8 bytes at each offset of `words` are set, and at each of `pointers` to the value there plus
    the address of the code.
    """

    def __init__(self, code: bytes, words: Mapping[int, int], pointers: Mapping[int, int]) -> None:
        self.size_bytes = len(code)
        flags = mapping.MAP_PRIVATE | mapping.MAP_ANONYMOUS
        self.address = _map(self.size_bytes, mapping.PROT_READ | mapping.PROT_WRITE, flags)
        filled = bytearray(code)
        values = {**words, **{offset: self.address + value for offset, value in pointers.items()}}
        for offset, value in values.items():
            filled[offset : offset + 8] = value.to_bytes(8, "little")
        ctypes.memmove(self.address, bytes(filled), len(filled))
        try:
            mapping.protect_memory(self.address, self.size_bytes, mapping.PROT_READ | mapping.PROT_EXEC)
        except OSError as error:
            raise HostError(f"the host does not let memory be executed: {error.strerror}") from error

    def close(self) -> None:
        """Unmap; nothing of it may be running."""
        mapping.unmap_memory(self.address, self.size_bytes)


def _memory_file(size_bytes: int) -> int:
    try:
        fd = os.memfd_create("innkeeper-code", os.MFD_CLOEXEC)
        os.ftruncate(fd, size_bytes)
    except (AttributeError, OSError) as error:
        raise HostError(f"the host has no memory files: {error}", "use --engine reference") from error
    return fd


def callable_at(address: int, parameters: int, *, releases_gil: bool) -> Callable[..., int]:
    """A C function of so many 64-bit words that returns one. Short ones need not release the GIL."""
    factory = ctypes.CFUNCTYPE if releases_gil else ctypes.PYFUNCTYPE
    function: Callable[..., int] = factory(ctypes.c_uint64, *[ctypes.c_uint64] * parameters)(address)
    return function


def symbol_address(name: str) -> int:
    """Address of a function of the C library."""
    function = getattr(ctypes.CDLL(None), name)
    return ctypes.cast(function, ctypes.c_void_p).value or 0
