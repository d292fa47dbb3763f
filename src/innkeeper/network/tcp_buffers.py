# SPDX-License-Identifier: Apache-2.0
"""Buffers for what is on its way to the guest: payload with room for its headers in front."""

from __future__ import annotations

from innkeeper.network.limits import BufferBudget

HEADER_ROOM_BYTES = 80
"""Ethernet, IPv6 and TCP headers (74 bytes), rounded up."""
PAYLOAD_BYTES_MAX = 65536
_SMALL_BYTES = 8192
"""Less than this is moved into a buffer of its size, so that many quiet connections hold little memory."""
_SPARE_MAX = 32


class Chunk:
    """Bytes of a stream from sequence number `start` to `end`, in one buffer behind room for headers.

    Sequence numbers are not wrapped here: they are counted on past 2**32.
    """

    __slots__ = ("buffer", "cost_bytes", "end", "start", "view")

    def __init__(self, buffer: bytearray, view: memoryview, start: int, size_bytes: int) -> None:
        self.buffer, self.view = buffer, view
        self.start, self.end = start, start + size_bytes
        self.cost_bytes = len(buffer)


class ChunkPool:
    """Makes chunks within a budget, and uses large buffers again: fresh ones would have to be zeroed."""

    __slots__ = ("_budget", "_spare")

    def __init__(self, budget: BufferBudget) -> None:
        self._budget = budget
        self._spare: list[tuple[bytearray, memoryview]] = []

    def take(self) -> tuple[bytearray, memoryview] | None:
        """A large buffer to read into, with its memory view; None when the budget is spent."""
        if not self._budget.take(HEADER_ROOM_BYTES + PAYLOAD_BYTES_MAX):
            return None
        if self._spare:
            return self._spare.pop()
        buffer = bytearray(HEADER_ROOM_BYTES + PAYLOAD_BYTES_MAX)
        return buffer, memoryview(buffer)

    def chunk(self, large: tuple[bytearray, memoryview], start: int, size_bytes: int) -> Chunk:
        """The first `size_bytes` of payload in `large`, which is given up."""
        if size_bytes > _SMALL_BYTES:
            return Chunk(*large, start, size_bytes)
        small = bytearray(large[1][: HEADER_ROOM_BYTES + size_bytes])
        self.give_back(large)
        # Never above the budget: what was given back is more.
        self._budget.take(len(small))
        return Chunk(small, memoryview(small), start, size_bytes)

    def release(self, chunk: Chunk) -> None:
        """`chunk` is used no longer."""
        if chunk.cost_bytes > PAYLOAD_BYTES_MAX:
            self.give_back((chunk.buffer, chunk.view))
        else:
            self._budget.give_back(chunk.cost_bytes)

    def trim(self) -> None:
        """Let go of buffers that nobody uses now."""
        self._spare.clear()

    def give_back(self, large: tuple[bytearray, memoryview]) -> None:
        """`large` was taken, and is not needed."""
        self._budget.give_back(HEADER_ROOM_BYTES + PAYLOAD_BYTES_MAX)
        if len(self._spare) < _SPARE_MAX:
            self._spare.append(large)
