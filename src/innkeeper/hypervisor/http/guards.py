# SPDX-License-Identifier: Apache-2.0
"""What stands before the API: the size of requests, and who may make them."""

from __future__ import annotations

import hmac
import json
import os
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from innkeeper.api.problems import MEDIA_TYPE, DeniedError, problem_json, problem_of
from innkeeper.errors import ConfigError, InnkeeperError
from innkeeper.host.processes import peer_user

BODY_LIMIT_BYTES = 1 << 20
DISCARD_LIMIT_BYTES = 64 << 20
_UNLIMITED = (("POST", "/v1/import"),)
"""Routes that check by themselves what they are sent, part by part."""
_ROOT = 0


class OwnUserProtocol(H11Protocol):
    """HTTP of a unix socket that only its own user, and root, may use.

    The folder of the socket keeps others out already; this holds should it not.
    """

    def connection_made(self, transport: Any) -> None:
        user = peer_user(transport.get_extra_info("socket"))
        if user not in (os.geteuid(), _ROOT):
            transport.abort()
            return
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.transport is not None:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            super().connection_lost(exc)


class BodyLimit:
    """Refuses requests with a body of more than BODY_LIMIT_BYTES."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) in _UNLIMITED:
            await self._app(scope, receive, send)
            return
        size_bytes = 0
        messages: list[Message] = []
        while True:
            message = await receive()
            messages.append(message)
            size_bytes += len(message.get("body", b""))
            if size_bytes > BODY_LIMIT_BYTES:
                await _discard(receive)
                await _refuse(send, ConfigError("the request is too large", "send at most 1 MiB"), 413)
                return
            if message["type"] != "http.request" or not message.get("more_body", False):
                break

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, replay, send)


async def _discard(receive: Receive) -> None:
    """Read on for a while: who is still sending would not see the answer."""
    size_bytes = 0
    while size_bytes < DISCARD_LIMIT_BYTES:
        message = await receive()
        size_bytes += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


class TokenGuard:
    """Lets through what carries the token, as `Authorization: Bearer TOKEN`. Spec: RFC 6750 2.1

    Digests of equal length are compared in constant time, so that no answer tells how much was right.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._key = os.urandom(32)
        self._digest = self._digest_of(token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._may(scope):
            error = DeniedError("the token is missing or wrong", "send Authorization: Bearer TOKEN")
            await _refuse(send, error, 401)
        elif scope["type"] == "websocket" and not self._may(scope):
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "the token is missing or wrong"})
        else:
            await self._app(scope, receive, send)

    def _may(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
        right = hmac.compare_digest(self._digest_of(token.strip()), self._digest)
        return right and scheme.lower() == b"bearer"

    def _digest_of(self, token: bytes) -> bytes:
        return hmac.digest(self._key, token, "sha256")


async def _refuse(send: Send, error: InnkeeperError, status: int) -> None:
    body = json.dumps({**problem_json(problem_of(error)), "status": status}).encode()
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
