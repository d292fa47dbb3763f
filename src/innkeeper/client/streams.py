# SPDX-License-Identifier: Apache-2.0
"""Consoles, commands and events as they come, synchronous and asynchronous."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self

from innkeeper.api import models
from innkeeper.client import wire


class Stream:
    """A console, a command or events. One thread may read while another writes."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it: a command is ended, a console goes on."""
        self._connection.close()

    def messages(self) -> Iterator[str | bytes]:
        """What comes, until it ends."""
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed, OSError):
            while True:
                yield self._connection.recv()

    def outputs(self) -> Iterator[wire.Output]:
        """What the guest says; the last one of a command is its exit status."""
        for message in self.messages():
            yield wire.read_output(message)

    def send_request(self, request: models.ExecRequest) -> None:
        """The first message of a command."""
        self._send(wire.exec_message(request))

    def send(self, data: bytes) -> None:
        """Standard input, or keys of a console."""
        for message in wire.input_messages(data):
            self._send(message)

    def send_end(self) -> None:
        """Standard input is at its end."""
        self._send(wire.input_end_message())

    def send_all(self, data: bytes) -> None:
        """All of standard input."""
        self.send(data)
        self.send_end()

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size."""
        self._send(wire.window_message(columns, rows))

    def signal(self, number: int) -> None:
        """Send the command a signal."""
        self._send(wire.signal_message(number))

    def _send(self, message: str | bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed, OSError):  # its end is told to who reads
            self._connection.send(message)


class AsyncStream:
    """A console, a command or events. One task may read while another writes."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of it: a command is ended, a console goes on."""
        await self._connection.close()

    async def messages(self) -> AsyncIterator[str | bytes]:
        """What comes, until it ends."""
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed, OSError):
            while True:
                yield await self._connection.recv()

    async def outputs(self) -> AsyncIterator[wire.Output]:
        """What the guest says; the last one of a command is its exit status."""
        async for message in self.messages():
            yield wire.read_output(message)

    async def send_request(self, request: models.ExecRequest) -> None:
        """The first message of a command."""
        await self._send(wire.exec_message(request))

    async def send(self, data: bytes) -> None:
        """Standard input, or keys of a console."""
        for message in wire.input_messages(data):
            await self._send(message)

    async def send_end(self) -> None:
        """Standard input is at its end."""
        await self._send(wire.input_end_message())

    async def send_all(self, data: bytes) -> None:
        """All of standard input."""
        await self.send(data)
        await self.send_end()

    async def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size."""
        await self._send(wire.window_message(columns, rows))

    async def signal(self, number: int) -> None:
        """Send the command a signal."""
        await self._send(wire.signal_message(number))

    async def _send(self, message: str | bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed, OSError):  # its end is told to who reads
            await self._connection.send(message)
