# SPDX-License-Identifier: Apache-2.0
"""A server on the host's loopback for a guest made by hand."""

from __future__ import annotations

import socket


class Listener:
    """A server on the host's loopback."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.socket.settimeout(30)
        self.accepted: list[socket.socket] = []

    def accept(self) -> socket.socket:
        connection, _ = self.socket.accept()
        connection.settimeout(30)
        self.accepted.append(connection)
        return connection

    def close(self) -> None:
        for connection in (self.socket, *self.accepted):
            connection.close()
