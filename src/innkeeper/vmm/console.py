# SPDX-License-Identifier: Apache-2.0
"""What the user types on the console: which of the guest's consoles gets it."""

from __future__ import annotations

from collections.abc import Callable

from innkeeper.devices.uart import Uart
from innkeeper.devices.virtio.console_port import ConsolePort
from innkeeper.machine.firmware_console import FirmwareConsole

END_OF_PANIC = b"end Kernel panic"
"""Source: Linux, kernel/panic.c, panic(): the last line of a kernel that does not reboot."""
END_OF_TRANSMISSION = b"\x04"
"""Ctrl-D, sent when standard input ends."""
KILL_LINE = b"\x15"
"""Ctrl-U."""


class ConsoleInput:
    """Sends input to the console that the guest reads: hvc0 if it is open there, else SBI, else serial.

    What a user types goes there at once, and what finds no room is dropped, as a terminal does: it must go on
    being read, for the way out may follow. Other input waits until `release`, so that nothing of it is lost
    in a console that is opened and closed again while the guest starts. Machine lock held.
    """

    def __init__(
        self, port: ConsolePort, firmware: FirmwareConsole, uart: Uart, *, interactive: bool
    ) -> None:
        self._port, self._firmware, self._uart = port, firmware, uart
        self._interactive = interactive
        self._released = interactive
        self.at_line_start = True
        """Whether the last byte that was taken ended a line."""

    def release(self) -> None:
        """The guest reads now; the stream has to be resumed."""
        self._released = True

    def on_space(self, ready: Callable[[], None]) -> None:
        """Let `ready` be called when there is room again, in whichever console was full."""
        self._port.on_space = ready
        self._firmware.on_space = ready
        self._uart.on_space = ready

    def receive(self, data: bytes) -> int:
        """How many of the first bytes were taken."""
        if not self._released:
            return 0
        taken = self._offer(data)
        if taken:
            self.at_line_start = data[taken - 1 : taken] in (b"\n", b"\r")
        return len(data) if self._interactive else taken

    def _offer(self, data: bytes) -> int:
        if self._port.is_guest_open:
            return self._port.receive(data)
        if self._firmware.was_read:
            return self._firmware.receive(data)
        return self._uart.receive(data)
