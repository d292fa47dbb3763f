# SPDX-License-Identifier: Apache-2.0
"""UDP flows of a guest made by hand."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from innkeeper.devices.virtio.net_frame import Frame, Offloads
from innkeeper.network.limits import Limits
from innkeeper.network.policy import Policy
from tests.unit.network.conftest import Guest
from tests.unit.network.packets import (
    DNS,
    GATEWAY,
    GATEWAY6,
    GUEST,
    GUEST6,
    SYN,
    FakePort,
    packed,
    rfc1071,
    tcp,
    udp,
)


class UdpServer:
    """A bound socket on loopback."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.settimeout(30)
        self.port: int = self.socket.getsockname()[1]


@pytest.fixture
def server() -> Iterator[UdpServer]:
    server = UdpServer()
    yield server
    server.socket.close()


@pytest.mark.parametrize("checksum", [False, True])
def test_datagrams_both_ways(make_guest: Callable[..., Guest], server: UdpServer, checksum: bool) -> None:
    guest = make_guest(FakePort(offloads=Offloads(checksum=checksum)))
    guest.send(udp(GUEST, 5000, GATEWAY, server.port, b"ping"))
    data, client = server.socket.recvfrom(100)
    server.socket.sendto(b"pong", client)
    (seen,) = guest.wait()
    assert (data, seen.udp_data) == (b"ping", b"pong")
    assert (seen.source, seen.target, seen.ports) == (GATEWAY, GUEST, (server.port, 5000))
    assert (seen.frame.checksum_start >= 0) == checksum


def test_datagrams_over_ipv6(guest: Guest) -> None:
    server = UdpServer("::1")
    guest.send(udp(GUEST6, 5000, GATEWAY6, server.port, b"ping"))
    data, client = server.socket.recvfrom(100)
    server.socket.sendto(data, client)
    (seen,) = guest.wait()
    assert (seen.source, seen.udp_data) == (GATEWAY6, b"ping")
    server.socket.close()


def test_answers_of_others_do_not_come_in(guest: Guest, server: UdpServer) -> None:
    guest.send(udp(GUEST, 5000, GATEWAY, server.port, b"ping"))
    _, client = server.socket.recvfrom(100)
    stranger = UdpServer()
    stranger.socket.sendto(b"me too", client)
    server.socket.sendto(b"pong", client)
    assert [one.udp_data for one in guest.wait()] == [b"pong"]
    stranger.socket.close()


def test_super_datagrams_are_cut(guest: Guest, server: UdpServer) -> None:
    frame = Frame(udp(GUEST, 5000, GATEWAY, server.port, b"a" * 500 + b"b" * 500 + b"c" * 20))
    frame.gso_type, frame.gso_size_bytes = 5, 500
    guest.net.send([frame])
    assert [server.socket.recv(2000) for _ in range(3)] == [b"a" * 500, b"b" * 500, b"c" * 20]


def test_a_batch_of_datagrams_arrives_in_order_each_by_itself(guest: Guest, server: UdpServer) -> None:
    other = UdpServer()
    sizes = [100] * 70 + [7, 0, 0, 1400, 1400, 1400, 8, 1400]
    sent = [bytes([number]) * size for number, size in enumerate(sizes)]
    batch = [udp(GUEST, 5000, GATEWAY, server.port, data) for data in sent]
    batch[40:40] = [udp(GUEST, 5000, GATEWAY, other.port, data) for data in (b"one", b"two", b"three")]
    guest.send(*batch)
    assert [server.socket.recv(2000) for _ in sent] == sent
    assert [other.socket.recv(2000) for _ in range(3)] == [b"one", b"two", b"three"]
    other.socket.close()


def test_datagrams_that_the_path_does_not_take_in_one_call_go_one_by_one(
    guest: Guest, server: UdpServer
) -> None:
    """A path of the host with a small MTU refuses segments of a larger size."""
    guest.send(udp(GUEST, 5000, GATEWAY, server.port, b"open"))
    (flow,) = guest.net._udp.flows.values()
    assert server.socket.recv(2000) == b"open"
    flow._host.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK, with which the kernel refuses to segment
    guest.send(*(udp(GUEST, 5000, GATEWAY, server.port, bytes([number]) * 900) for number in range(10)))
    assert [server.socket.recv(2000)[0] for _ in range(10)] == list(range(10))


def test_a_closed_port_is_told_in_the_middle_of_a_batch(guest: Guest, server: UdpServer) -> None:
    guest.send(udp(GUEST, 5000, GATEWAY, server.port, b"open"))
    server.socket.close()
    for _ in range(2):
        guest.send(*(udp(GUEST, 5000, GATEWAY, server.port, b"ping") for _ in range(5)))
    seen = guest.wait()
    assert seen and all((each.protocol, each.payload[:2]) == (1, b"\x03\x03") for each in seen)


def test_fragments_of_the_guest_are_joined(guest: Guest, server: UdpServer) -> None:
    whole = udp(GUEST, 5000, GATEWAY, server.port, bytes(range(250)) * 10)[34:]
    for start in range(0, len(whole), 800):
        part = whole[start : start + 800]
        more = 0x2000 if start + 800 < len(whole) else 0
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(part), 9, more | start // 8, 64, 17, 0)
        header += packed(GUEST) + packed(GATEWAY)
        stored = struct.pack("!H", rfc1071(header))
        guest.send(udp(GUEST, 1, GATEWAY, 1, b"")[:14] + header[:10] + stored + header[12:] + part)
    assert server.socket.recv(4000) == bytes(range(250)) * 10


def test_closed_port_is_told(guest: Guest, server: UdpServer) -> None:
    server.socket.close()
    guest.send(udp(GUEST, 5000, GATEWAY, server.port, b"ping"))
    (seen,) = guest.wait()
    assert (seen.protocol, seen.payload[:2]) == (1, b"\x03\x03")
    assert seen.payload[28:32] == struct.pack("!HH", 5000, server.port)


def test_forbidden_is_told(make_guest: Callable[..., Guest], server: UdpServer) -> None:
    guest = make_guest(policy=Policy())
    (seen,) = guest.ask(udp(GUEST, 5000, GATEWAY, server.port, b"ping"))
    assert seen.payload[:2] == b"\x03\x0d"
    (seen,) = guest.ask(udp(GUEST6, 5000, "fd12::1", 80, b"ping"))
    assert (seen.protocol, seen.payload[:2]) == (58, b"\x01\x01")
    (seen,) = guest.ask(udp(GUEST, 5000, DNS, 54, b"ping"))
    assert seen.payload[:2] == b"\x03\x03"
    server.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.socket.recv(10)


def test_policy_ends_flows(guest: Guest, server: UdpServer) -> None:
    guest.send(udp(GUEST, 5000, GATEWAY, server.port, b"ping"))
    _, client = server.socket.recvfrom(100)
    guest.net.set_policy(Policy())
    assert guest.net.statistics.udp_open == 0
    server.socket.sendto(b"pong", client)
    guest.loop.turn(0.01)
    assert guest.port.seen() == []


def test_flows_end(make_guest: Callable[..., Guest], server: UdpServer) -> None:
    guest = make_guest(limits=Limits(udp_idle_s=100, udp_unanswered_s=30))
    guest.send(udp(GUEST, 5000, GATEWAY, server.port, b"a"), udp(GUEST, 5001, GATEWAY, server.port, b"b"))
    _, client = server.socket.recvfrom(10)
    server.socket.sendto(b"x", client)
    guest.wait()
    guest.loop.advance_s(50)
    assert guest.net.statistics.udp_open == 1
    guest.loop.advance_s(60)
    assert guest.net.statistics.udp_open == 0
    assert not guest.loop.readers


def test_flows_are_bounded(make_guest: Callable[..., Guest], server: UdpServer) -> None:
    guest = make_guest(limits=Limits(udp_flows=10))
    for number in range(100):
        guest.send(udp(GUEST, 5000 + number, GATEWAY, server.port, b"x"))
    assert guest.net.statistics.udp_open == 10
    assert len(guest.loop.readers) == 10


def test_guest_without_buffers_leaves_datagrams_in_the_socket(guest: Guest, server: UdpServer) -> None:
    guest.send(udp(GUEST, 5000, GATEWAY, server.port, b"ping"))
    _, client = server.socket.recvfrom(100)
    guest.port.buffers = 1
    for number in range(20):
        server.socket.sendto(bytes((number,)), client)
    for _ in range(5):
        guest.loop.turn(0.01)
    assert not guest.loop.readers, "nobody turns in vain"
    seen = guest.port.seen()
    guest.port.buffers = None
    guest.net.receive_ready()
    guest.loop.until(lambda: len(guest.port.frames) + len(seen) >= 20)
    seen += guest.port.seen()
    assert [one.udp_data for one in seen] == [bytes((number,)) for number in range(20)]


def test_rate_limit_drops(make_guest: Callable[..., Guest], server: UdpServer) -> None:
    guest = make_guest(limits=Limits(upload_bytes_per_s=1000))
    for _ in range(400):
        guest.send(udp(GUEST, 5000, GATEWAY, server.port, bytes(1400)))
    assert 200 < guest.net.statistics.dropped["rate limit"] < 400
    guest.loop.advance_s(1000)
    before = guest.net.statistics.dropped["rate limit"]
    guest.send(udp(GUEST, 5000, GATEWAY, server.port, bytes(1400)))
    assert guest.net.statistics.dropped["rate limit"] == before


def test_spoofed_sources_go_nowhere(guest: Guest, server: UdpServer) -> None:
    for source in ("8.8.8.8", "127.0.0.1", GATEWAY, "10.0.2.255", "10.0.3.15"):
        guest.send(
            udp(source, 5000, GATEWAY, server.port, b"x"), tcp(source, 1, GATEWAY, server.port, 1, 0, SYN)
        )
    assert guest.port.seen() == []
    assert guest.net.statistics.dropped["source is not the guest's"] == 10
