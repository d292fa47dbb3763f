# SPDX-License-Identifier: Apache-2.0
"""The console behind SBI's debug console and legacy console calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from innkeeper.devices.saved import require

INPUT_LIMIT_BYTES = 65536


@dataclass
class FirmwareConsoleState:
    """`was_read`: the guest has asked for input here; `input` waits for it."""

    was_read: bool = False
    input: bytearray = field(default_factory=bytearray)


class FirmwareConsole:
    """Bytes out through `write`, bytes in through a bounded queue. Used with the machine's lock held.

    `was_read` tells whether the guest ever asked for input here, so that typed bytes go where they are read.
    """

    def __init__(self, output: Callable[[bytes], None]) -> None:
        self.write = output
        self.state = FirmwareConsoleState()
        self.on_space: Callable[[], None] | None = None
        self._space_wanted = False

    @property
    def was_read(self) -> bool:
        """Whether the guest ever asked for input here."""
        return self.state.was_read

    def restore(self, state: FirmwareConsoleState) -> None:
        """Go on from there. ConfigError if it cannot be."""
        require(len(state.input) <= INPUT_LIMIT_BYTES, "the firmware console's input")
        self.state = state

    def receive(self, data: bytes) -> int:
        """Queue input; returns how many bytes were taken. `on_space` is called once there is room again."""
        accepted = min(len(data), INPUT_LIMIT_BYTES - len(self.state.input))
        self.state.input += data[:accepted]
        self._space_wanted |= accepted < len(data)
        return accepted

    def read(self, limit_bytes: int) -> bytes:
        """At most `limit_bytes` of the input that waits."""
        self.state.was_read = True
        data = bytes(self.state.input[:limit_bytes])
        del self.state.input[:limit_bytes]
        if data and self._space_wanted and self.on_space is not None:
            self._space_wanted = False
            self.on_space()
        return data
