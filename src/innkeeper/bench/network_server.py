# SPDX-License-Identifier: Apache-2.0
"""The host's end of the network benchmark: `python -m innkeeper.bench.network_server`.

It prints the first of four consecutive ports of the loopback that it listens on: bytes to it, bytes from it,
HTTP, datagrams. It ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Callable

_CHUNK_BYTES = 1 << 20
_PAGE = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024
_PORT_TRIES = 100


def main() -> None:
    """Serve until standard input ends."""
    sockets = _listen()
    print(sockets[0].getsockname()[1], flush=True)
    for listening, serve in zip(sockets, (_take, _give, _page), strict=False):
        threading.Thread(target=_accept, args=(listening, serve), daemon=True).start()
    threading.Thread(target=_count, args=(sockets[3],), daemon=True).start()
    sys.stdin.read()


def _listen() -> list[socket.socket]:
    """Three TCP sockets and a UDP socket at consecutive ports."""
    for _ in range(_PORT_TRIES):
        sockets = [socket.socket(), socket.socket(), socket.socket(), socket.socket(type=socket.SOCK_DGRAM)]
        try:
            sockets[0].bind(("127.0.0.1", 0))
            port = sockets[0].getsockname()[1]
            for number, other in enumerate(sockets[1:], 1):
                other.bind(("127.0.0.1", port + number))
        except (OSError, OverflowError):
            for opened in sockets:
                opened.close()
            continue
        for listening in sockets[:3]:
            listening.listen(128)
        return sockets
    raise SystemExit("the host has no four consecutive ports free")


def _accept(listening: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    while True:
        client, _ = listening.accept()
        if serve is _page:
            with contextlib.suppress(OSError), client:
                serve(client)
        else:
            threading.Thread(target=_serve_one, args=(serve, client), daemon=True).start()


def _serve_one(serve: Callable[[socket.socket], None], client: socket.socket) -> None:
    with contextlib.suppress(OSError), client:
        serve(client)


def _take(client: socket.socket) -> None:
    buffer = bytearray(_CHUNK_BYTES)
    while client.recv_into(buffer):
        pass
    client.sendall(b"\0")


def _give(client: socket.socket) -> None:
    (left,) = struct.unpack("<Q", client.recv(8, socket.MSG_WAITALL))
    chunk = memoryview(bytes(_CHUNK_BYTES))
    while left:
        left -= client.send(chunk[: min(left, _CHUNK_BYTES)])
    client.recv(1)


def _page(client: socket.socket) -> None:
    client.recv(4096)
    client.sendall(_PAGE)


def _count(datagrams: socket.socket) -> None:
    """Count datagrams of each sender; an empty one is answered with the count."""
    counts: dict[object, int] = {}
    buffer = bytearray(65536)
    while True:
        size_bytes, sender = datagrams.recvfrom_into(buffer)
        if size_bytes:
            counts[sender] = counts.get(sender, 0) + 1
        else:
            with contextlib.suppress(OSError):
                datagrams.sendto(struct.pack("<Q", counts.get(sender, 0)), sender)


if __name__ == "__main__":
    main()
