# SPDX-License-Identifier: Apache-2.0
"""Requests over HTTP, asynchronous, by httpx."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, TypeVar

import httpx

from innkeeper.client.calls import Call
from innkeeper.client.endpoint import Endpoint
from innkeeper.client.transport import TIMEOUT_S, read_json, read_problem

T = TypeVar("T")
_PROBLEM_LIMIT_BYTES = 1 << 20


class AsyncTransport:
    """Carries out calls at an endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        if endpoint.path is not None:
            transport = httpx.AsyncHTTPTransport(uds=str(endpoint.path))
            base = "http://localhost"
        else:
            transport = httpx.AsyncHTTPTransport(verify=endpoint.tls())
            host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
            base = f"https://{host}:{endpoint.port}"
        self._client = httpx.AsyncClient(
            base_url=base, transport=transport, headers=endpoint.headers, timeout=TIMEOUT_S
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, call: Call[T]) -> T:
        """The answer to `call`; raises the problem that it answers with."""
        async with self._answer(call) as answer:
            data = await answer.aread()
        return call.read(read_json(data) if data else None)

    async def download(self, call: Call[bytes]) -> AsyncIterator[bytes]:
        """The answer to `call`, in parts. HostError if it breaks off."""
        async with self._answer(call, lasting=True) as answer:
            async for data in answer.aiter_raw():
                yield data

    async def upload(self, call: Call[T], parts: AsyncIterable[bytes]) -> T:
        """As `send`, with a body that is sent as it comes."""
        async with self._answer(call, body=parts) as answer:
            return call.read(read_json(await answer.aread()))

    @contextlib.asynccontextmanager
    async def _answer(
        self, call: Call[Any], body: AsyncIterable[bytes] | None = None, *, lasting: bool = False
    ) -> AsyncIterator[httpx.Response]:
        timeout = httpx.Timeout(TIMEOUT_S, read=None if lasting else TIMEOUT_S)
        given: dict[str, Any] = {"json": call.json} if call.body is not None else {"content": body}
        try:
            async with self._client.stream(call.method, call.target, timeout=timeout, **given) as answer:
                if answer.status_code >= 400:
                    raise read_problem(answer.status_code, (await answer.aread())[:_PROBLEM_LIMIT_BYTES])
                yield answer
        except httpx.HTTPError as error:
            raise self.endpoint.unreachable(error) from error
