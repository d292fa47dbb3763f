# SPDX-License-Identifier: Apache-2.0
"""Sockets that the API is served on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from innkeeper.errors import ConfigError, HostError
from innkeeper.host.private import read_private
from innkeeper.hypervisor.http.guards import OwnUserProtocol, TokenGuard

MESSAGE_LIMIT_BYTES = 1 << 20
TOKEN_MIN_CHARACTERS = 32
_TOKEN_LIMIT_BYTES = 4096
_GRACE_S = 2
_BACKLOG = 1024


@dataclass(frozen=True)
class TcpListener:
    """Where the API is served on TCP: always with TLS and a token."""

    host: str
    port: int
    certificate: Path
    key: Path
    token: str


class Server(uvicorn.Server):
    """Serves until `stop`. It takes no signals, and does nothing while nobody asks."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._asked = asyncio.Event()

    def stop(self) -> None:
        """End soon: open requests have a moment left."""
        self.should_exit = True
        self._asked.set()

    async def main_loop(self) -> None:
        await self._asked.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def unix_server(app: ASGIApp) -> Server:
    """Serves the user's own processes."""
    return Server(uvicorn.Config(app, http=OwnUserProtocol, **_settings()))


def tcp_server(app: ASGIApp, listener: TcpListener) -> Server:
    """Serves whoever has the token. ConfigError for a certificate that cannot be used."""
    config = uvicorn.Config(TokenGuard(app, listener.token), http="h11", **_settings())
    config.load()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(listener.certificate, listener.key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or error.args[-1]
        raise ConfigError(
            f"the certificate {listener.certificate} cannot be used: {reason}", "give PEM files"
        ) from error
    config.ssl = context
    return Server(config)


def read_token(path: Path) -> str:
    """The token in a file of this user alone. ConfigError if it is none, or easily guessed."""
    try:
        token = read_private(path, _TOKEN_LIMIT_BYTES).decode("ascii").strip()
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"cannot read the token in {path}: {error}", f"chmod go-w {path}") from error
    if len(token) < TOKEN_MIN_CHARACTERS or not token.isprintable() or " " in token:
        remedy = f"make one: openssl rand -hex 32 > {path}"
        raise ConfigError(f"{path} has no token of at least {TOKEN_MIN_CHARACTERS} characters", remedy)
    return token


def bind_unix(path: Path) -> socket.socket:
    """A socket at `path`, in the place of one that nobody listens to any more. HostError if it cannot be."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        former = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(former)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise HostError(
            f"cannot listen on {path}: {error.strerror}", "check the folder's permissions"
        ) from error
    return listener


def bind_tcp(host: str, port: int) -> socket.socket:
    """HostError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise HostError(f"cannot listen on {host}:{port}: {error.strerror}", "choose another port") from error
    return listener


def _settings() -> dict[str, Any]:
    return {
        "ws": "websockets-sansio",
        "ws_max_size": MESSAGE_LIMIT_BYTES,
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "date_header": False,
        "backlog": _BACKLOG,
        "timeout_graceful_shutdown": _GRACE_S,
    }
