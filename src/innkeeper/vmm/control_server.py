# SPDX-License-Identifier: Apache-2.0
"""The control socket of a VMM: who connects, who hears events. On the machine's I/O loop, lock held."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from innkeeper.api.messages import Request
from innkeeper.errors import ConfigError, HostError
from innkeeper.host.processes import peer_user
from innkeeper.vmm.connection import Connection, Handler, Loop

CONNECTION_LIMIT = 256
_BACKLOG = 64


class ControlServer:
    """Listens at `path` as soon as it is made; `start` begins to serve, before the machine runs."""

    def __init__(self, path: Path, loop: Loop) -> None:
        self._path = path
        self._loop = loop
        self._handle: Handler = _not_yet
        self._connections: set[Connection] = set()
        self._listeners: set[Connection] = set()
        self._socket = _listen(path)

    def start(self, handle: Handler) -> None:
        """From now on `handle` gets the requests."""
        self._handle = handle
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def subscribe(self, connection: Connection) -> None:
        """From now on it hears events."""
        self._listeners.add(connection)

    def tell(self, event: Mapping[str, Any]) -> None:
        """An event for all that listen."""
        for connection in tuple(self._listeners):
            connection.event(event)

    def close(self) -> None:
        """Take no more connections, send what waits as far as the clients read, and remove the socket."""
        self._loop.remove_reader(self._socket.fileno())
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._socket.close()
        for connection in tuple(self._connections):
            connection.finish()

    def abandon(self) -> None:
        """In a forked child: let go of all that belongs to the parent."""
        self._socket.close()
        for connection in self._connections:
            connection.abandon()
        self._connections.clear()
        self._listeners.clear()

    def _accept(self) -> None:
        try:
            client, _ = self._socket.accept()
        except OSError:
            return
        user = peer_user(client)
        if user not in (os.geteuid(), 0) or len(self._connections) >= CONNECTION_LIMIT:
            client.close()
            return
        self._connections.add(Connection(client, self._loop, self._handle, self._closed))

    def _closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._listeners.discard(connection)


def _not_yet(connection: Connection, request: Request) -> None:
    raise HostError("the VM is being made", "try again")


def _listen(path: Path) -> socket.socket:
    """A socket that only this user can reach. ConfigError or HostError if it cannot be had."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        with contextlib.suppress(FileNotFoundError):
            # Its owner is gone: whoever starts a VMM has made sure that there is no other of this VM.
            path.unlink()
        listener.bind(os.fspath(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if "too long" in str(error):
            raise ConfigError(f"the path {path} is too long for a socket", "set INNKEEPER_RUNTIME") from error
        raise HostError(
            f"cannot listen at {path}: {error.strerror or error}", "make its folder writable"
        ) from error
    finally:
        os.umask(previous)
    listener.setblocking(False)
    return listener
