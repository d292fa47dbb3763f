# SPDX-License-Identifier: Apache-2.0
"""Connections to the control socket of a VMM. What is said there: `innkeeper.api.vmm_protocol`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

from innkeeper.api.messages import LineReader, decode_answer, encode_request
from innkeeper.api.vmm_protocol import LINE_LIMIT_BYTES
from innkeeper.errors import HostError, InnkeeperError

CALL_TIMEOUT_S = 30.0
_READ_BYTES = 65536


def _gone() -> HostError:
    return HostError("the VMM does not answer", "see inn logs --source vmm; inn stop --force ends it")


class VmmLink:
    """Requests to one VMM, several at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._task = asyncio.get_running_loop().create_task(self._read(), name="vmm link")

    @classmethod
    async def connect(cls, path: Path) -> Self:
        """OSError while nobody answers there."""
        return cls(*await asyncio.open_unix_connection(path, limit=LINE_LIMIT_BYTES + 1))

    async def call(
        self, method: str, params: Mapping[str, Any] | None = None, timeout_s: float = CALL_TIMEOUT_S
    ) -> dict[str, Any]:
        """The result of `method`, or its error raised; HostError if the VMM is gone or does not answer."""
        if self._task.done():
            raise _gone()
        self._number += 1
        number = self._number
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._writer.write(encode_request(number, method, params or {}))
            async with asyncio.timeout(timeout_s):
                return await answer
        except (OSError, TimeoutError) as error:
            raise _gone() from error
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """Requests that wait end with an error."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                number, answer = decode_answer(line)
                waiting = self._waiting.get(number)
                if waiting is None or waiting.done():
                    continue
                if isinstance(answer, InnkeeperError):
                    waiting.set_exception(answer)
                else:
                    waiting.set_result(answer)
        except (OSError, ValueError, HostError):
            pass  # what a VMM says that makes no sense ends the link as its end does
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(_gone())


class VmmStream:
    """A connection that carries frames, or lines, once its request is answered.

    Plain socket calls: a stream of asyncio forgets what it has received when sending fails, and a VMM closes
    behind its last word without reading on.
    """

    def __init__(self, connection: socket.socket, answer: Mapping[str, Any], received: bytes) -> None:
        self.answer = answer
        """What the VMM answered to the request."""
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        # Reading and writing wait on descriptors of their own.
        self._writing = connection.dup()
        self._writing.setblocking(False)
        self._received = received

    @classmethod
    async def open(cls, path: Path, method: str, params: Mapping[str, Any]) -> Self:
        """Raises the VMM's error if it refuses, and HostError if there is no VMM."""
        loop = asyncio.get_running_loop()
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await loop.sock_connect(connection, str(path))
                await loop.sock_sendall(connection, encode_request(1, method, params))
                received = b""
                while b"\n" not in received:
                    data = await loop.sock_recv(connection, _READ_BYTES)
                    if not data or len(received) > LINE_LIMIT_BYTES:
                        raise _gone()
                    received += data
            line, _, rest = received.partition(b"\n")
            _, answer = decode_answer(line)
            if isinstance(answer, InnkeeperError):
                raise answer
            return cls(connection, answer, rest)
        except (OSError, TimeoutError) as error:
            connection.close()
            raise _gone() from error
        except BaseException:
            connection.close()
            raise

    async def receive(self) -> bytes:
        """What came; empty at the end."""
        if self._received:
            data, self._received = self._received, b""
            return data
        try:
            return await self._loop.sock_recv(self._connection, _READ_BYTES)
        except OSError:
            return b""

    async def send(self, data: bytes) -> bool:
        """Returns when the VMM can take more; False if it takes nothing any more."""
        try:
            await self._loop.sock_sendall(self._writing, data)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Nobody may be sending or receiving."""
        self._writing.close()
        self._connection.close()


async def events_of(path: Path) -> AsyncIterator[dict[str, Any]]:
    """What a VMM tells, until it goes. HostError if there is none."""
    stream = await VmmStream.open(path, "events", {})
    lines = LineReader()
    try:
        while data := await stream.receive():
            for line in lines.feed(data):
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict) and isinstance(event.get("event"), str):
                        yield event
    finally:
        stream.close()
