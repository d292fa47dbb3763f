# SPDX-License-Identifier: Apache-2.0
"""How TCP connections of a guest made by hand begin and end, in virtual time."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest

from innkeeper.network.limits import Limits
from innkeeper.network.policy import Policy
from tests.unit.network.conftest import Guest
from tests.unit.network.guest_tcp import GuestTcp, connected
from tests.unit.network.listener import Listener
from tests.unit.network.packets import (
    ACK,
    DNS,
    FIN,
    GATEWAY,
    GUEST,
    PSH,
    RST,
    SYN,
    packed,
    tcp,
)


def test_guest_is_connected_when_the_host_is(guest: Guest, listener: Listener) -> None:
    # The server's queue is full: it answers when there is room.
    listener.socket.listen(0)
    with socket.create_connection(("127.0.0.1", listener.port)):
        client = GuestTcp(guest, listener.port)
        client.syn()
        guest.loop.turn(0.02)
        client.syn()
        assert guest.port.seen() == [], "not before the host's connection is there"
        listener.accept()
        (seen,) = guest.wait()
    assert (seen.source, seen.flags, seen.ack) == (GATEWAY, SYN | ACK, (client.sequence + 1) & 0xFFFFFFFF)
    assert seen.options == b"\x02\x04\x05\xb4\x01\x03\x03\x07"


def test_host_that_does_not_answer(make_guest: Callable[..., Guest], listener: Listener) -> None:
    guest = make_guest(limits=Limits(tcp_connect_s=10))
    listener.socket.listen(0)
    with socket.create_connection(("127.0.0.1", listener.port)):
        GuestTcp(guest, listener.port).syn()
        guest.loop.advance_s(9)
        assert guest.port.seen() == []
        guest.loop.advance_s(2)
        (seen,) = guest.port.seen()
    assert (seen.protocol, seen.payload[:2]) == (1, b"\x03\x01")
    assert guest.net.statistics.tcp_open == 0 and not guest.loop.writers


def test_scaling_is_not_offered_to_who_does_not(guest: Guest, listener: Listener) -> None:
    client = GuestTcp(guest, listener.port)
    client.options = b""
    seen = client.connect()
    assert seen.options == b"\x02\x04\x05\xb4"
    host = listener.accept()
    host.sendall(bytes(5000))
    parts = guest.wait()
    assert max(len(one.data) for one in parts) == 536, "what RFC 9293 3.7.1 says without an option"


def test_lost_syn_ack_is_sent_again(guest: Guest, listener: Listener) -> None:
    client = GuestTcp(guest, listener.port)
    client.syn()
    (first,) = guest.wait()
    guest.loop.advance_s(1.1)
    client.syn()
    assert [one.sequence for one in guest.port.seen()] == [first.sequence] * 2
    guest.loop.advance_s(300)
    assert guest.port.seen()[-1].flags & RST
    assert guest.net.statistics.tcp_open == 0


def test_syn_ack_waits_for_buffers_and_no_longer(guest: Guest, listener: Listener) -> None:
    guest.port.buffers = 0
    client = GuestTcp(guest, listener.port)
    client.syn()
    listener.accept()
    guest.loop.turn(0.02)
    guest.net.receive_ready()
    assert guest.port.seen() == []
    guest.port.buffers = None
    guest.net.receive_ready()
    seen = guest.port.seen_one()
    assert seen.flags == SYN | ACK
    guest.net.receive_ready()
    assert guest.port.seen() == [] and guest.net.statistics.tcp_retransmitted == 0


def test_refused_is_a_reset(guest: Guest, listener: Listener) -> None:
    listener.close()
    client = GuestTcp(guest, listener.port)
    client.syn()
    (seen,) = guest.wait()
    assert (seen.flags, seen.ack) == (RST | ACK, (client.sequence + 1) & 0xFFFFFFFF)


def test_forbidden_is_told_by_icmp(make_guest: Callable[..., Guest]) -> None:
    guest = make_guest(policy=Policy())
    (seen,) = guest.ask(tcp(GUEST, 40_000, "192.168.1.1", 80, 77, 0, SYN))
    assert (seen.protocol, seen.source, seen.payload[:2]) == (1, GATEWAY, b"\x03\x0d")
    inner = seen.payload[8:]
    assert inner[9] == 6 and inner[12:20] == packed(GUEST) + packed("192.168.1.1")
    assert inner[20:28] == struct.pack("!HHI", 40_000, 80, 77)


def test_segments_of_no_connection_are_reset(guest: Guest) -> None:
    (seen,) = guest.ask(tcp(GUEST, 1, GATEWAY, 2, 5, 700, ACK))
    assert (seen.flags, seen.sequence) == (RST, 700)
    (seen,) = guest.ask(tcp(GUEST, 1, GATEWAY, 2, 5, 0, FIN, b"abc"))
    assert (seen.flags, seen.ack) == (RST | ACK, 9)
    assert guest.ask(tcp(GUEST, 1, GATEWAY, 2, 5, 0, RST)) == []


def test_end_of_the_guest_first(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    (answer,) = client.send(b"last", FIN | PSH | ACK)
    assert answer.ack == client.sequence & 0xFFFFFFFF
    assert host.recv(10) == b"last" and host.recv(10) == b""
    host.sendall(b"still here")
    assert client.acknowledge(guest.wait()) == b"still here"
    host.close()
    (fin,) = guest.wait()
    assert fin.flags & FIN
    client.acknowledge([fin])
    assert guest.net.statistics.tcp_open == 1, "TIME-WAIT"
    (again,) = guest.ask(client.segment(FIN | ACK, sequence=client.sequence - 1))
    assert again.ack == client.sequence & 0xFFFFFFFF
    guest.loop.advance_s(11)
    assert guest.net.statistics.tcp_open == 0


def test_end_of_the_host_first(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    host.sendall(b"bye")
    host.shutdown(socket.SHUT_WR)
    guest.loop.until(lambda: any(frame.data[47] & FIN for frame in guest.port.frames))
    assert client.acknowledge(guest.port.seen()) == b"bye"
    client.send(b"and you")
    assert host.recv(10) == b"and you"
    client.send(b"", FIN | ACK)
    assert host.recv(10) == b""
    assert client.connect(), "a new connection of the same ends, in TIME-WAIT"


def test_lost_fin_is_sent_again(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    host.close()
    (fin,) = guest.wait()
    guest.loop.advance_s(1.1)
    (again,) = guest.port.seen()
    assert (again.flags & FIN, again.sequence) == (FIN, fin.sequence)
    assert client.sequence


def test_reset_has_to_be_exact(guest: Guest, listener: Listener) -> None:
    """Spec: RFC 5961 3.2."""
    client, host = connected(guest, listener)
    (challenge,) = guest.ask(client.segment(RST, sequence=client.sequence + 5))
    assert challenge.flags == ACK
    (challenge,) = guest.ask(client.segment(SYN))
    assert challenge.flags == ACK
    assert guest.net.statistics.tcp_open == 1
    guest.send(client.segment(RST))
    assert guest.net.statistics.tcp_open == 0
    with pytest.raises(ConnectionResetError):
        host.recv(1)


def test_keep_alive_is_answered(guest: Guest, listener: Listener) -> None:
    client, _ = connected(guest, listener)
    (answer,) = guest.ask(client.segment(ACK, sequence=client.sequence - 1))
    assert (answer.flags, answer.ack) == (ACK, client.sequence & 0xFFFFFFFF)


def test_acknowledging_what_was_not_sent_is_answered(guest: Guest, listener: Listener) -> None:
    client, _ = connected(guest, listener)
    (answer,) = guest.ask(client.segment(ACK, b"x", ack=client.expected + 9))
    assert answer.ack == client.sequence & 0xFFFFFFFF


def test_silence_ends_it(make_guest: Callable[..., Guest], listener: Listener) -> None:
    guest = make_guest(limits=Limits(tcp_idle_s=120))
    connected(guest, listener)
    guest.loop.advance_s(200)
    assert guest.port.seen()[-1].flags & RST
    assert guest.net.statistics.tcp_open == 0


def test_bounds(make_guest: Callable[..., Guest], listener: Listener) -> None:
    guest = make_guest(limits=Limits(tcp_connections=2, tcp_syn_per_s=1, tcp_syn_burst=5))
    for number in range(3):
        client = GuestTcp(guest, listener.port, source_port=100 + number)
        client.syn()
    assert guest.port.seen()[-1].flags & RST
    for number in range(10):
        GuestTcp(guest, listener.port, source_port=200 + number).syn()
    assert guest.net.statistics.dropped["too many SYNs a second"] == 8
    assert guest.net.statistics.tcp_open == 2


def test_dns_over_tcp(guest: Guest) -> None:
    """The NAT's own service at the end of a connection; here it refuses, for want of a name server."""
    client = GuestTcp(guest, 53, target=DNS)
    client.connect()
    query = b"\x12\x34\x28\0" + bytes(8)
    client.send(len(query).to_bytes(2, "big") + query[:5])
    client.send(query[5:])
    guest.loop.until(lambda: any(frame.data[47] & PSH for frame in guest.port.frames))
    answer = client.acknowledge(guest.port.seen())
    assert answer[:4] == b"\0\x0c\x12\x34" and answer[5] & 15 == 1
    client.send(b"", FIN | ACK)
    guest.loop.until(lambda: any(frame.data[47] & FIN for frame in guest.port.frames))


def test_a_flood_is_the_guests_own_affair(guest: Guest) -> None:
    """SYNs to everywhere, 10,000 a second: what they leave behind is bounded."""
    for number in range(20_000):
        guest.port.frames.clear()
        port, host = 1 + number % 60_000, 1 + number % 250
        guest.send(tcp(GUEST, port, f"192.168.0.{host}", port, 1, 0, SYN))
        if number % 100 == 0:
            guest.loop.advance_s(0.01)
    assert len(guest.net.refusals) <= 1000
    assert guest.net.statistics.tcp_open == 0 and not guest.loop.readers
