# SPDX-License-Identifier: Apache-2.0
"""The user network with a real guest: Linux's TCP against the host's by way of our NAT, offline."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from innkeeper.errors import HostError
from innkeeper.network.policy import Policy
from tests.guest.machines import machine

pytestmark = pytest.mark.guest
STREAM_BYTES = int(os.environ.get("INNKEEPER_STREAM_MIB", "64")) << 20
"""1024 for the long form, which takes the guest 3 GiB of memory."""
HOST = "10.0.2.2"
"""The host's loopback, as the guest sees it."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Peer:
    """A server on the host's loopback that digests what clients send, or gives them `data`."""

    def __init__(self, data: bytes | None) -> None:
        self.digests: list[str] = []
        self._data = data
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._main, daemon=True).start()

    def _main(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                with client:
                    self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        if self._data is not None:
            client.sendall(self._data)
            return
        digest = hashlib.sha256()
        while data := client.recv(1 << 20):
            digest.update(data)
        self.digests.append(digest.hexdigest())

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def giving() -> Iterator[Peer]:
    peer = Peer(os.urandom(1 << 20) * (STREAM_BYTES >> 20))
    yield peer
    peer.close()


@pytest.fixture
def taking() -> Iterator[Peer]:
    peer = Peer(None)
    yield peer
    peer.close()


def test_streams_pings_refusals_and_addresses(giving: Peer, taking: Peer) -> None:
    """One boot for everything that the guest begins."""
    closed = free_port()
    script = f"""
        cat /etc/resolv.conf
        ping -c 2 -W 10 {HOST} >/dev/null && echo pinged
        nc {HOST} {giving.port} </dev/null >/tmp/data
        sha256sum </tmp/data
        nc {HOST} {taking.port} </tmp/data
        nc {HOST} {closed} </dev/null 2>/dev/null || echo nobody there
        nc -w 20 {HOST} 1 </dev/null 2>/dev/null || echo not allowed
        tries=0
        until ip -6 addr show dev eth0 scope global | grep -q fd00 || [ $tries -gt 100 ]; do
            tries=$((tries + 1)); sleep 0.1
        done
        ip -6 addr show dev eth0 scope global | grep -c fd00
        cat /sys/class/net/eth0/carrier /sys/class/net/eth0/mtu
    """
    told: list[str] = []
    allowed = [f"host:{port}" for port in (giving.port, taking.port, closed)]
    memory_bytes = max(512 << 20, 3 * STREAM_BYTES)
    policy = Policy.parse(allow=[*allowed, "icmp:host"])
    guest = machine(policy=policy, on_warning=told.append, memory_bytes=memory_bytes)
    result = guest.run(script)
    lines = result.stdout.decode().splitlines()
    assert giving._data is not None
    digest = hashlib.sha256(giving._data).hexdigest()
    assert lines == [
        "nameserver 10.0.2.3",
        "pinged",
        f"{digest}  -",
        "nobody there",
        "not allowed",
        "1",
        "1",
        "1500",
    ], result
    assert taking.digests == [digest]
    assert len(told) == 1 and HOST in told[0] and "port 1" in told[0]


def test_a_server_in_the_guest_is_reached_by_way_of_a_published_port() -> None:
    port = free_port()
    serving = threading.Event()
    stdin, done = os.pipe()
    result = []

    def run() -> None:
        script = """
            mkdir /tmp/www && echo hello from the guest >/tmp/www/index.html
            httpd -p 80 -h /tmp/www && echo serving
            read wait
            netstat -tn | grep -c ESTABLISHED
        """
        guest = machine(ports=[f"{port}:80"], net=["user"])
        result.append(guest.run(script, stdin=stdin, stdout=lambda data: serving.set()))

    thread = threading.Thread(target=run)
    thread.start()
    assert serving.wait(120)
    for _ in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"hello from the guest\n")
        connection.close()
    with pytest.raises(HostError, match="in use"):
        machine(ports=[f"{port}:80"]).run("true")
    os.close(done)
    thread.join()
    os.close(stdin)
    assert result and result[0].stderr == b""
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


def test_without_a_network_there_is_no_adapter() -> None:
    result = machine(net="none").run(
        "ls /sys/class/net; cat /etc/resolv.conf 2>/dev/null; lsmod | grep -c virtio_net"
    )
    assert result.stdout == b"lo\n0\n"
