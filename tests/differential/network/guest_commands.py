# SPDX-License-Identifier: Apache-2.0
"""What the process in the namespace (namespace_peer) can be told to do; the answers go into JSON."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

TIMEOUT_S = 120


def content(seed: int, size_bytes: int) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


def _connect(address: str, port: int) -> socket.socket:
    return socket.create_connection((address, port), timeout=TIMEOUT_S)


def _read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def exchange(address: str, port: int, seed: int, size_bytes: int) -> dict[str, Any]:
    """Send bytes, close that half, read to the end; the digest of what was read."""
    with _connect(address, port) as connection:
        sender = threading.Thread(target=_send_and_shut, args=(connection, content(seed, size_bytes)))
        sender.start()
        received = _read_all(connection)
        sender.join()
    return {"digest": hashlib.sha256(received).hexdigest(), "size_bytes": len(received)}


def _send_and_shut(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def many(address: str, port: int, count: int, size_bytes: int) -> dict[str, Any]:
    """`count` connections at once, each of which sends bytes of its own and wants them back."""
    connections = [_connect(address, port) for _ in range(count)]
    wrong = 0
    for number, connection in enumerate(connections):
        connection.sendall(content(number, size_bytes))
        connection.shutdown(socket.SHUT_WR)
    for number, connection in enumerate(connections):
        wrong += _read_all(connection) != content(number, size_bytes)
        connection.close()
    return {"wrong": wrong}


def connect(address: str, port: int, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Try to connect; the error number, 0 if it worked."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect((address, port))
        except TimeoutError:
            return {"errno": -1}
        except OSError as error:
            return {"errno": error.errno}
    return {"errno": 0}


_held: dict[int, socket.socket] = {}


def hold(address: str, port: int) -> dict[str, Any]:
    """Open a connection for the commands below; its number."""
    connection = _connect(address, port)
    _held[connection.fileno()] = connection
    return {"number": connection.fileno()}


def reset(number: int) -> dict[str, Any]:
    """End a held connection with a reset."""
    connection = _held.pop(number)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return {}


def fill(number: int) -> dict[str, Any]:
    """Write to a held connection until it takes no more; how many bytes it took."""
    connection = _held[number]
    connection.settimeout(1.0)
    sent = 0
    try:
        while True:
            sent += connection.send(bytes(1 << 16))
    except TimeoutError:
        return {"sent_bytes": sent}


def shut(number: int) -> dict[str, Any]:
    """Close the writing half of a held connection."""
    _held[number].settimeout(TIMEOUT_S)
    _held[number].shutdown(socket.SHUT_WR)
    return {}


def write(number: int, size_bytes: int) -> dict[str, Any]:
    _held[number].settimeout(TIMEOUT_S)
    _held[number].sendall(bytes(size_bytes))
    return {}


def read(number: int, size_bytes: int = -1) -> dict[str, Any]:
    """Read so many bytes, or to the end; how many came, and the error number if one did."""
    connection = _held[number]
    connection.settimeout(TIMEOUT_S)
    got = 0
    try:
        while size_bytes < 0 or got < size_bytes:
            part = connection.recv(1 << 16 if size_bytes < 0 else size_bytes - got)
            if not part:
                break
            got += len(part)
    except OSError as error:
        return {"size_bytes": got, "errno": error.errno}
    return {"size_bytes": got, "errno": 0}


def close(number: int) -> dict[str, Any]:
    _held.pop(number).close()
    return {}


def listen(port: int, family: int = socket.AF_INET) -> dict[str, Any]:
    """Serve at `port`: each connection gets back what it sends."""
    server = socket.socket(family)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("", port))
    server.listen(256)
    _accepted[port] = threading.Semaphore(0)
    threading.Thread(target=_serve, args=(server,), daemon=True).start()
    return {}


_accepted: dict[int, threading.Semaphore] = {}


def wait_accepted(port: int) -> dict[str, Any]:
    """Wait until one more connection to the server at `port` has come than was waited for."""
    if not _accepted[port].acquire(timeout=TIMEOUT_S):
        raise TimeoutError("no connection came")
    return {}


def _serve(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        _accepted[connection.getsockname()[1]].release()
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection:
        connection.sendall(_read_all(connection))


def udp_exchange(address: str, port: int, sizes: list[int], timeout_s: float = 10) -> dict[str, Any]:
    """Send datagrams and wait for the same to come back; how many did, or the error number."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    right = 0
    with socket.socket(family, socket.SOCK_DGRAM) as own:
        own.settimeout(timeout_s)
        own.connect((address, port))
        try:
            for seed, size_bytes in enumerate(sizes):
                own.send(content(seed, size_bytes))
                right += own.recv(65535) == content(seed, size_bytes)
        except TimeoutError:
            return {"right": right, "errno": -1}
        except OSError as error:
            return {"right": right, "errno": error.errno}
    return {"right": right, "errno": 0}


def udp_listen(port: int) -> dict[str, Any]:
    """Send every datagram to `port` back."""
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind(("", port))

    def serve() -> None:
        while True:
            data, client = own.recvfrom(65535)
            own.sendto(data, client)

    threading.Thread(target=serve, daemon=True).start()
    return {}


def ping(address: str, size_bytes: int) -> dict[str, Any]:
    """Send an ICMP echo request; whether its reply came and has the same bytes."""
    is_v6 = ":" in address
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if is_v6 else socket.IPPROTO_ICMP
    request, reply = (128, 129) if is_v6 else (8, 0)
    Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 0")
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as own:
        own.settimeout(TIMEOUT_S)
        own.connect((address, 0))
        data = content(1, size_bytes)
        own.send(struct.pack("!BBHHH", request, 0, 0, 0, 77) + data)
        answer = own.recv(65535)
    return {"right": answer[0] == reply and answer[6:8] == b"\0\x4d" and answer[8:] == data}


def wait_ipv6() -> dict[str, Any]:
    """Wait until the kernel has made an address from the router's prefix, and a route."""
    until_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until_s:
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            # Address, index, prefix length, scope (0: global), flags (0x40: tentative), device.
            words = line.split()
            if words[5] == "tap0" and words[3] == "00" and not int(words[4], 16) & 0x40:
                return {}
        time.sleep(0.02)
    raise TimeoutError("no IPv6 address came")


def run(command: list[str]) -> dict[str, Any]:
    """Run a program here; its status and output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    return {"status": done.returncode, "output": done.stdout + done.stderr}


COMMANDS = {
    command.__name__: command
    for command in (
        exchange, many, connect, hold, reset, fill, shut, write, read, close, listen, wait_accepted,
        udp_exchange, udp_listen, ping, wait_ipv6, run,
    )
}  # fmt: skip
