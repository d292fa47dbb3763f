# SPDX-License-Identifier: Apache-2.0
"""The guest's console for several clients at once: what it printed last, who sees it, and its log.

All of it is used with the machine's lock held.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

SCROLLBACK_BYTES = 64 << 10
LOG_LIMIT_BYTES = 1 << 20
"""The log and the one before it have at most so many bytes each."""


class ConsoleClient(Protocol):
    """Who is attached."""

    def console_output(self, data: bytes) -> None:
        """The guest's consoles print this."""

    def console_space(self) -> None:
        """The console takes input again."""


class ConsoleHub:
    """`receive(data)` gives input to the guest and says how many of the first bytes were taken."""

    def __init__(self, receive: Callable[[bytes], int], log: ConsoleLog) -> None:
        self._receive = receive
        self._log = log
        self._scrollback = bytearray()
        self._clients: list[ConsoleClient] = []

    def attach(self, client: ConsoleClient, history: bool) -> None:
        """From now on `client` sees what is printed; with `history` also the last of what was."""
        if history and self._scrollback:
            client.console_output(self.history())
        self._clients.append(client)

    def detach(self, client: ConsoleClient) -> None:
        """It sees no more; harmless if it did not."""
        if client in self._clients:
            self._clients.remove(client)

    def become(self, log: ConsoleLog) -> None:
        """In a forked child: another log, and nobody is attached. What was printed last is kept."""
        self._log.close()
        self._log = log
        self._clients.clear()

    def history(self) -> bytes:
        """What was printed last."""
        return bytes(self._scrollback[-SCROLLBACK_BYTES:])

    def output(self, data: bytes) -> None:
        """The guest has printed."""
        self._scrollback += data
        if len(self._scrollback) > 2 * SCROLLBACK_BYTES:
            del self._scrollback[:-SCROLLBACK_BYTES]
        self._log.write(data)
        for client in tuple(self._clients):
            client.console_output(data)

    def input(self, data: bytes) -> int:
        """A client types; returns how much of it was taken. `console_space` says when to go on."""
        return self._receive(data)

    def space(self) -> None:
        """There is room for input again."""
        for client in tuple(self._clients):
            client.console_space()


class ConsoleLog:
    """A file that what is printed is appended to. Before it gets too long it is renamed to `NAME.1`.

    Where the host cannot write it (disk full), what is printed is lost and the VM runs on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._size_bytes = 0
        self._open()

    def write(self, data: bytes) -> None:
        """Append."""
        if self._size_bytes + len(data) > LOG_LIMIT_BYTES:
            self._rotate()
        try:
            if self._fd >= 0:
                os.write(self._fd, data[-LOG_LIMIT_BYTES:])
                self._size_bytes += len(data)
        except OSError:
            self.close()

    def close(self) -> None:
        """Write no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(self._path, flags, 0o600)
            self._size_bytes = os.fstat(self._fd).st_size
        except OSError:
            self._fd = -1

    def _rotate(self) -> None:
        self.close()
        try:
            os.replace(self._path, self._path.with_name(self._path.name + ".1"))
        except OSError:
            return
        self._size_bytes = 0
        self._open()
