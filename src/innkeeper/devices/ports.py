# SPDX-License-Identifier: Apache-2.0
"""What devices need from the machine, declared on the consumer's side.

A device never calls the machine except through these. Every method of a device runs with the machine's lock
held, so a device has no thread and no lock of its own.
"""

from collections.abc import Callable
from typing import Protocol

InterruptLine = Callable[[int], None]
"""Drives a level-triggered interrupt line: 1 asserts it, 0 releases it. Repeating a level is harmless."""


class GuestMemory(Protocol):
    """The guest's RAM by guest-physical address.

    Every method raises `GuestError` when any byte of the range is outside RAM.
    """

    def read(self, address: int, size_bytes: int) -> bytes: ...

    def write(self, address: int, data: bytes | memoryview) -> None: ...

    def view(self, address: int, size_bytes: int) -> memoryview:
        """A writable, contiguous view of unsigned bytes onto RAM, without a copy."""
        ...

    def read_view(self, address: int, size_bytes: int) -> memoryview:
        """As `view`, which costs less because nothing will be written through it."""
        ...


class Clock(Protocol):
    """Time as the machine gives it: the host's, or virtual."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds from an arbitrary start."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 00:00 UTC."""
        ...


class MmioDevice(Protocol):
    """A device that answers loads and stores in a region of the guest's physical addresses."""

    def read(self, offset: int, size_bytes: int) -> int: ...

    def write(self, offset: int, size_bytes: int, value: int) -> None: ...

    def reset(self) -> None: ...
