# SPDX-License-Identifier: Apache-2.0
"""Servers on the host's loopback for the guest behind our NAT."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable

TIMEOUT_S = 120.0


class Server:
    """Accepts connections on a loopback port; each goes to `serve` on a thread, or into `accepted`."""

    def __init__(
        self, serve: Callable[[socket.socket], None] | None = None, address: str = "127.0.0.1"
    ) -> None:
        self.accepted: queue.Queue[socket.socket] = queue.Queue()
        self._serve = serve
        self._listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._listener.bind((address, 0))
        self._listener.listen(512)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def accept(self) -> socket.socket:
        """The next connection."""
        return self.accepted.get(timeout=TIMEOUT_S)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(TIMEOUT_S)
            if self._serve is None:
                self.accepted.put(connection)
            else:
                threading.Thread(target=self._guarded, args=(connection,), daemon=True).start()

    def _guarded(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            assert self._serve is not None
            self._serve(connection)


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def echo(connection: socket.socket) -> None:
    """Send everything back when all of it has come."""
    connection.sendall(read_all(connection))


class UdpEcho:
    """Sends every datagram back."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with socket.socket(self._socket.family, socket.SOCK_DGRAM) as own:
            own.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while True:
            data, client = self._socket.recvfrom(65535)
            if not data:
                return
            self._socket.sendto(data, client)
