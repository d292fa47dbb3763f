# SPDX-License-Identifier: Apache-2.0
"""Reads the lines of the control port. The guest is not trusted: what makes no sense is ignored."""

from __future__ import annotations

from collections.abc import Callable

_LINE_LIMIT_BYTES = 256


class ControlReader:
    """Sets `is_ready` at `ready`; at the first `exit N` (0..255) sets `status` and tells `on_exit`."""

    def __init__(self, on_exit: Callable[[int], None]) -> None:
        self.is_ready = False
        self.on_ready: Callable[[], None] = lambda: None
        self.status: int | None = None
        self._on_exit = on_exit
        self._line = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes in whatever pieces they come."""
        *ended, rest = data.split(b"\n")
        for part in ended:
            self._line += part[:_LINE_LIMIT_BYTES]
            line, self._line = bytes(self._line), bytearray()
            self._take(line)
        self._line += rest[:_LINE_LIMIT_BYTES]
        del self._line[_LINE_LIMIT_BYTES:]

    def _take(self, line: bytes) -> None:
        word, _, number = line.partition(b" ")
        if word == b"ready":
            self.is_ready = True
            self.on_ready()
        elif word == b"exit" and self.status is None and number.isdigit() and len(number) <= 3:
            status = int(number)
            if status <= 255:
                self.status = status
                self._on_exit(status)
