# SPDX-License-Identifier: Apache-2.0
"""Opening WebSockets, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future, wait
from typing import Any

from innkeeper.client.calls import Call
from innkeeper.client.endpoint import Endpoint
from innkeeper.client.wire import MESSAGE_LIMIT_BYTES
from innkeeper.errors import ConfigError, HostError

_OPEN_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 10.0


def _address(endpoint: Endpoint, path: str, query: Mapping[str, Any]) -> str:
    target = Call("", "GET", f"/v1/{path}", lambda data: None, query).target
    if endpoint.path is not None:
        return f"ws://localhost{target}"
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"wss://{host}:{endpoint.port}{target}"


def _options(endpoint: Endpoint) -> dict[str, Any]:
    options: dict[str, Any] = {
        "additional_headers": endpoint.headers,
        "max_size": MESSAGE_LIMIT_BYTES,
        "compression": None,
        "open_timeout": _OPEN_TIMEOUT_S,
        "proxy": None,
    }
    if endpoint.path is None:
        options["ssl"] = endpoint.tls()
    return options


class ThreadedConnection:
    """A WebSocket for threads: it is served by an event loop of its own.

    The synchronous connection of websockets does not receive while a message of it waits to be sent, so that
    both sides can come to wait for each other.
    """

    def __init__(self, endpoint: Endpoint, path: str, query: Mapping[str, Any]) -> None:
        self._loop = asyncio.new_event_loop()
        self._receiving: Future[str | bytes] | None = None
        self._closing = threading.Lock()
        threading.Thread(target=self._serve, name="websocket", daemon=True).start()
        try:
            self._connection = self._run(connect_async(endpoint, path, query))
        except BaseException:
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise

    def recv(self) -> str | bytes:
        """The next message; websockets' ConnectionClosed at the end. One thread only; may be interrupted."""
        if self._receiving is None:
            self._receiving = asyncio.run_coroutine_threadsafe(self._connection.recv(), self._loop)
        waiting = self._receiving
        try:
            return waiting.result()
        finally:
            if waiting.done():
                self._receiving = None

    def send(self, message: str | bytes) -> None:
        """Returns when the other side can take more."""
        self._run(self._connection.send(message))

    def abort(self) -> None:
        """Go without a word."""
        self._loop.call_soon_threadsafe(self._connection.transport.abort)

    def close(self) -> None:
        """End it; nothing happens if it has ended."""
        with self._closing:
            if self._loop.is_closed() or not self._loop.is_running():
                return
            receiving = self._receiving
            with contextlib.suppress(OSError, TimeoutError):
                self._run(self._connection.close())
            if receiving is not None:
                wait([receiving], _CLOSE_TIMEOUT_S)
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except RuntimeError as error:  # the loop is closed
            work.close()
            raise OSError("the connection is closed") from error


async def connect_async(endpoint: Endpoint, path: str, query: Mapping[str, Any]) -> Any:
    """A connection of websockets. HostError if nobody answers, ConfigError if one is not let in."""
    from websockets.asyncio import client
    from websockets.exceptions import InvalidHandshake

    address, options = _address(endpoint, path, query), _options(endpoint)
    try:
        if endpoint.path is not None:
            return await client.unix_connect(str(endpoint.path), address, **options).__aenter__()
        return await client.connect(address, **options).__aenter__()
    except InvalidHandshake as error:
        raise _refused(error) from error
    except (OSError, TimeoutError) as error:
        raise endpoint.unreachable(error) from error


def _refused(error: Exception) -> HostError | ConfigError:
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if status in (401, 403):
        return ConfigError("the token is missing or wrong", "give the one in the hypervisor's token file")
    return HostError(f"the hypervisor refuses the connection: {error}", "check the address")
