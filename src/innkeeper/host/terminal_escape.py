# SPDX-License-Identifier: Apache-2.0
"""The way out of a terminal that is attached to a guest."""

from __future__ import annotations

from collections.abc import Callable

ESCAPE = 0x1D
"""Ctrl-]"""
QUIT = ord("q")


class EscapeFilter:
    """Takes `Ctrl-] q` out of what is typed. `Ctrl-] Ctrl-]` sends one Ctrl-]; other pairs pass."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._escaped = False

    def feed(self, data: bytes) -> bytes:
        """What of `data` is for the guest."""
        if not self._escaped and ESCAPE not in data:
            return data
        result = bytearray()
        for byte in data:
            if not self._escaped:
                if byte == ESCAPE:
                    self._escaped = True
                else:
                    result.append(byte)
                continue
            self._escaped = False
            if byte == QUIT:
                self._leave()
                break
            result.append(ESCAPE)
            if byte != ESCAPE:
                result.append(byte)
        return bytes(result)
