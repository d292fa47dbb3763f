# SPDX-License-Identifier: Apache-2.0
"""Connections to the control socket of a VMM. What is said there: `innkeeper.api.vmm_protocol`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

from innkeeper.api.messages import decode_answer, encode_request
from innkeeper.api.vmm_protocol import LINE_LIMIT_BYTES
from innkeeper.errors import HostError, InnkeeperError

CALL_TIMEOUT_S = 30.0


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


async def open_stream(
    path: Path, method: str, params: Mapping[str, Any]
) -> tuple[dict[str, Any], asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that carries frames, or lines, after the answer to `method`: the answer and its two ends.

    Raises the VMM's error, and HostError if there is no VMM.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=LINE_LIMIT_BYTES + 1)
    except OSError as error:
        raise _gone() from error
    try:
        writer.write(encode_request(1, method, params))
        async with asyncio.timeout(CALL_TIMEOUT_S):
            line = await reader.readline()
        if not line:
            raise _gone()
        _, answer = decode_answer(line)
        if isinstance(answer, InnkeeperError):
            raise answer
        return answer, reader, writer
    except (OSError, ValueError, TimeoutError) as error:
        writer.close()
        raise _gone() from error
    except BaseException:
        writer.close()
        raise


async def events_of(path: Path) -> AsyncIterator[dict[str, Any]]:
    """What a VMM tells, until it goes. HostError if there is none."""
    _, reader, writer = await open_stream(path, "events", {})
    try:
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                event = json.loads(line)
                if isinstance(event, dict) and isinstance(event.get("event"), str):
                    yield event
    finally:
        writer.close()
