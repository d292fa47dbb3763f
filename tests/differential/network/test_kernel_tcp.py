# SPDX-License-Identifier: Apache-2.0
"""Our TCP against the kernel's on both sides: a kernel as guest, loopback servers as the internet."""

from __future__ import annotations

import errno
import hashlib
import random
import socket
import struct
from collections.abc import Callable

import pytest

from innkeeper.network.forwards import Forward
from innkeeper.network.limits import Limits
from innkeeper.network.nat import UserNet
from innkeeper.network.policy import Policy
from tests.differential.network.guest_commands import content
from tests.differential.network.servers import Server, echo, read_all
from tests.differential.network.tap_link import TapGuest, Weather

GATEWAY, GATEWAY6 = "10.0.2.2", "fd00:a:0:2::2"
MIB = 1 << 20


def exchange(guest: TapGuest, port: int, size_bytes: int, address: str = GATEWAY) -> None:
    """Bytes there and back; every one of them the same."""
    answer = guest.do("exchange", address=address, port=port, seed=7, size_bytes=size_bytes)
    assert answer["size_bytes"] == size_bytes
    assert answer["digest"] == hashlib.sha256(content(7, size_bytes)).hexdigest()


@pytest.mark.parametrize(
    ("offloads", "mtu_bytes", "size_bytes"),
    [(True, 1500, 64 * MIB), (True, 9000, 16 * MIB), (False, 1500, 8 * MIB), (False, 576, MIB)],
)
def test_bytes_arrive(
    make_guest: Callable[..., TapGuest],
    echo_server: Server,
    offloads: bool,
    mtu_bytes: int,
    size_bytes: int,
) -> None:
    guest = make_guest(offloads=offloads, mtu_bytes=mtu_bytes)
    exchange(guest, echo_server.port, size_bytes)
    assert guest.net.statistics.tcp_retransmitted == 0


@pytest.mark.parametrize(
    ("offloads", "size_bytes", "connections"), [(True, 16 * MIB, 50), (False, MIB // 2, 5)]
)
def test_bytes_arrive_in_bad_weather(
    make_guest: Callable[..., TapGuest],
    echo_server: Server,
    rng: random.Random,
    offloads: bool,
    size_bytes: int,
    connections: int,
) -> None:
    """Frames lost, doubled and overtaken, both ways."""
    weather = Weather(rng, lost=0.01, doubled=0.02, late=0.05)
    guest = make_guest(offloads=offloads, weather=weather)
    exchange(guest, echo_server.port, size_bytes)
    answer = guest.do("many", address=GATEWAY, port=echo_server.port, count=connections, size_bytes=5000)
    assert answer == {"wrong": 0}


def test_two_hundred_connections_at_once(guest: TapGuest, echo_server: Server) -> None:
    answer = guest.do("many", address=GATEWAY, port=echo_server.port, count=200, size_bytes=20_000)
    assert answer == {"wrong": 0}
    assert guest.net.statistics.tcp_opened == 200


def test_ipv6(guest: TapGuest) -> None:
    """The guest's kernel takes its address from our router advertisement."""
    server = Server(echo, "::1")
    try:
        guest.do("wait_ipv6")
        exchange(guest, server.port, 4 * MIB, GATEWAY6)
    finally:
        server.close()


def test_guest_closes_first(guest: TapGuest, server: Server) -> None:
    number = guest.do("hold", address=GATEWAY, port=server.port)["number"]
    with server.accept() as host:
        guest.do("write", number=number, size_bytes=1000)
        guest.do("shut", number=number)
        assert len(read_all(host)) == 1000
        host.sendall(bytes(300_000))
        assert guest.do("read", number=number, size_bytes=300_000)["size_bytes"] == 300_000
    assert guest.do("read", number=number) == {"size_bytes": 0, "errno": 0}


def test_host_closes_first(guest: TapGuest, server: Server) -> None:
    number = guest.do("hold", address=GATEWAY, port=server.port)["number"]
    with server.accept() as host:
        host.sendall(bytes(1000))
        host.shutdown(socket.SHUT_WR)
        assert guest.do("read", number=number) == {"size_bytes": 1000, "errno": 0}
        guest.do("write", number=number, size_bytes=300_000)
        guest.do("shut", number=number)
        assert len(read_all(host)) == 300_000


def test_reset_of_the_guest_reaches_the_host(guest: TapGuest, server: Server) -> None:
    number = guest.do("hold", address=GATEWAY, port=server.port)["number"]
    with server.accept() as host:
        guest.do("reset", number=number)
        with pytest.raises(ConnectionResetError):
            host.recv(1)


def test_reset_of_the_host_reaches_the_guest(guest: TapGuest, server: Server) -> None:
    number = guest.do("hold", address=GATEWAY, port=server.port)["number"]
    host = server.accept()
    host.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    host.close()
    assert guest.do("read", number=number) == {"size_bytes": 0, "errno": errno.ECONNRESET}


def test_failures_are_told_as_such(guest: TapGuest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert guest.do("connect", address=GATEWAY, port=port)["errno"] == errno.ECONNREFUSED
    # No such host on the cable: ARP says nothing, so that is the guest's own finding.
    assert guest.do("connect", address="10.0.2.77", port=1)["errno"] == errno.EHOSTUNREACH
    # The host has no route to what RFC 1112 reserved, and policy says so first.
    assert guest.do("connect", address="240.0.0.1", port=1)["errno"] == errno.EHOSTUNREACH
    assert guest.do("connect", address="192.168.7.7", port=1)["errno"] == errno.EHOSTUNREACH
    assert [refusal.address for refusal in guest.net.refusals] == ["240.0.0.1", "192.168.7.7"]


def test_slow_reader_on_the_host_stops_the_guest(guest: TapGuest, server: Server) -> None:
    number = guest.do("hold", address=GATEWAY, port=server.port)["number"]
    with server.accept() as host:
        sent_bytes = guest.do("fill", number=number)["sent_bytes"]
        with guest.lock:
            held_bytes = guest.net.buffered_bytes
        assert held_bytes <= Limits().tcp_window_bytes + 65536
        guest.do("shut", number=number)
        assert len(read_all(host)) == sent_bytes
    assert guest.do("read", number=number) == {"size_bytes": 0, "errno": 0}


def test_slow_reader_in_the_guest_stops_the_host(guest: TapGuest, server: Server) -> None:
    number = guest.do("hold", address=GATEWAY, port=server.port)["number"]
    with server.accept() as host:
        host.settimeout(1)
        sent_bytes = 0
        with pytest.raises(TimeoutError):
            while True:
                sent_bytes += host.send(bytes(1 << 16))
        with guest.lock:
            held_bytes = guest.net.buffered_bytes
        assert held_bytes <= Limits().tcp_flight_bytes + 65536
        host.shutdown(socket.SHUT_WR)
        assert guest.do("read", number=number) == {"size_bytes": sent_bytes, "errno": 0}


def test_port_of_the_host_leads_to_the_guest(guest: TapGuest) -> None:
    guest.do("listen", port=8080)
    with guest.lock:
        forward = guest.net.add_forward(Forward.parse("0:8080"))
    data = content(3, 100_000)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", forward.host_port), timeout=60) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == data


def test_open_connections_outlive_their_port(guest: TapGuest) -> None:
    guest.do("listen", port=8080)
    with guest.lock:
        forward = guest.net.add_forward(Forward.parse("0:8080"))
    with socket.create_connection(("127.0.0.1", forward.host_port), timeout=60) as client:
        client.sendall(b"1")
        guest.do("wait_accepted", port=8080)
        with guest.lock:
            guest.net.remove_forward(forward)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", forward.host_port), timeout=60)


def test_port_where_nothing_listens_in_the_guest(guest: TapGuest) -> None:
    with guest.lock:
        forward = guest.net.add_forward(Forward.parse("0:81"))
    # The reset may be faster than connect(2).
    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection(("127.0.0.1", forward.host_port), timeout=60) as client,
    ):
        client.recv(1)


def test_policy_ends_open_connections(guest: TapGuest, server: Server) -> None:
    number = guest.do("hold", address=GATEWAY, port=server.port)["number"]
    with server.accept() as host:
        with guest.lock:
            guest.net.set_policy(Policy())
        assert guest.do("read", number=number)["errno"] == errno.ECONNRESET
        with pytest.raises(ConnectionResetError):
            host.recv(1)
    assert guest.do("connect", address=GATEWAY, port=server.port)["errno"] == errno.EHOSTUNREACH
    assert guest.net.refusals[-1].reason == "the host's loopback"


def test_more_connections_than_are_allowed(make_guest: Callable[..., TapGuest], server: Server) -> None:
    limits = Limits(tcp_connections=8)
    guest = make_guest(make=lambda loop: UserNet(loop, policy=Policy.parse(allow=["host"]), limits=limits))
    for _ in range(8):
        guest.do("hold", address=GATEWAY, port=server.port)
    assert guest.do("connect", address=GATEWAY, port=server.port)["errno"] == errno.ECONNREFUSED


def test_rate_is_kept_both_ways(make_guest: Callable[..., TapGuest], echo_server: Server) -> None:
    """Everything arrives under a rate too. How fast is for the token bucket's own test."""
    limits = Limits(upload_bytes_per_s=8 * MIB, download_bytes_per_s=8 * MIB)
    guest = make_guest(make=lambda loop: UserNet(loop, policy=Policy.parse(allow=["host"]), limits=limits))
    exchange(guest, echo_server.port, 8 * MIB)
