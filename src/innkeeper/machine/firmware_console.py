# SPDX-License-Identifier: Apache-2.0
"""The console behind SBI's debug console and legacy console calls."""

from __future__ import annotations

from collections.abc import Callable

INPUT_LIMIT_BYTES = 65536


class FirmwareConsole:
    """Bytes out through `write`, bytes in through a bounded queue. Used with the machine's lock held.

    `was_read` tells whether the guest ever asked for input here, so that typed bytes go where they are read.
    """

    def __init__(self, output: Callable[[bytes], None]) -> None:
        self.write = output
        self.was_read = False
        self.on_space: Callable[[], None] | None = None
        self._input = bytearray()
        self._space_wanted = False

    def receive(self, data: bytes) -> int:
        """Queue input; returns how many bytes were taken. `on_space` is called once there is room again."""
        accepted = min(len(data), INPUT_LIMIT_BYTES - len(self._input))
        self._input += data[:accepted]
        self._space_wanted |= accepted < len(data)
        return accepted

    def read(self, limit_bytes: int) -> bytes:
        """At most `limit_bytes` of the input that waits."""
        self.was_read = True
        data = bytes(self._input[:limit_bytes])
        del self._input[:limit_bytes]
        if data and self._space_wanted and self.on_space is not None:
            self._space_wanted = False
            self.on_space()
        return data
