# SPDX-License-Identifier: Apache-2.0
"""Guest RAM as the reference engine touches it, and the intrinsics that need nothing else.

Addresses are guest-physical; values are little-endian and without sign. Callers check `is_ram` first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from innkeeper.engines.engine import GuestRam
from innkeeper.ir.native import M64
from innkeeper.isa.riscv.state import IPI_MAIL

NS_PER_TICK = 100
"""The timebase is 10 MHz."""


class Memory(Protocol):
    """What executing an instruction needs of physical memory besides the intrinsics."""

    def is_ram(self, address: int, size_bytes: int) -> bool:
        """Whether the whole range is RAM."""

    def read(self, address: int, size_bytes: int) -> int:
        """1..8 bytes of RAM."""

    def write(self, address: int, size_bytes: int, value: int) -> None:
        """1..8 bytes of RAM."""

    def cas(self, address: int, size_bytes: int, old: int, new: int) -> bool:
        """Atomically put `new` where `old` stands (4 or 8 bytes, aligned); whether it stood there."""


class RamSurroundings:
    """`Surroundings` and `Memory` over RAM for one hart.

    Exact while one hart executes at a time (`Turns`). What an engine caches it learns about by overriding
    `translation_changed`, `flush_translations`, `flush_code`, `collect_flags`, `configure_float`, `write`.
    """

    def __init__(self, ram: GuestRam, words: memoryview, now_ns: Callable[[], int]) -> None:
        self._base = ram.base
        self._size_bytes = ram.size_bytes
        self._buffer = ram.buffer
        self._words = words
        self._now_ns = now_ns

    def is_ram(self, address: int, size_bytes: int) -> bool:
        return 0 <= address - self._base <= self._size_bytes - size_bytes

    def read(self, address: int, size_bytes: int) -> int:
        offset = address - self._base
        return int.from_bytes(self._buffer[offset : offset + size_bytes], "little")

    def write(self, address: int, size_bytes: int, value: int) -> None:
        offset = address - self._base
        self._buffer[offset : offset + size_bytes] = value.to_bytes(size_bytes, "little")

    def cas(self, address: int, size_bytes: int, old: int, new: int) -> bool:
        if self.read(address, size_bytes) != old:
            return False
        self.write(address, size_bytes, new)
        return True

    def read64(self, address: int) -> int:
        return self.read(address, 8)

    def cas64(self, address: int, old: int, new: int) -> bool:
        return self.cas(address, 8, old, new)

    def zero_block(self, address: int) -> None:
        for at in range(address, address + 64, 8):
            self.write(at, 8, 0)

    def clock_ticks(self) -> int:
        return self._now_ns() // NS_PER_TICK & M64

    def take_ipi(self) -> bool:
        if self._words[IPI_MAIL] == 0:
            return False
        # A mail that arrives between the two lines is the same interrupt.
        self._words[IPI_MAIL] = 0
        return True

    def translation_changed(self) -> None:
        """Nothing is cached here."""

    def flush_translations(self, address: int | None, asid: int | None) -> None:
        """Nothing is cached here."""

    def flush_code(self) -> None:
        """Instructions are read from memory each time."""

    def collect_flags(self) -> None:
        """FFLAGS is always complete."""

    def configure_float(self) -> None:
        """FRM is read when it is needed."""
