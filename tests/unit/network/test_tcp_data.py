# SPDX-License-Identifier: Apache-2.0
"""Data on TCP connections of a guest made by hand, in virtual time: order, windows, losses."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innkeeper.devices.virtio.net_frame import Offloads
from innkeeper.network.limits import Limits
from tests.unit.network.conftest import Guest
from tests.unit.network.guest_tcp import connected
from tests.unit.network.listener import Listener
from tests.unit.network.packets import (
    ACK,
    FIN,
    PSH,
    RST,
    FakePort,
)

ALL = Offloads(True, True, True)


def test_data_reaches_the_host(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    for size in (1, 300, 1460):
        (answer,) = client.send(bytes(size))
        assert (answer.flags, answer.ack) == (ACK, client.sequence & 0xFFFFFFFF)
        assert host.recv(size, socket.MSG_WAITALL) == bytes(size)


def test_a_batch_is_acknowledged_once(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    batch = [client.segment(ACK, b"x" * 100, sequence=client.sequence + at) for at in range(0, 1000, 100)]
    (answer,) = guest.ask(*batch)
    assert answer.ack == (client.sequence + 1000) & 0xFFFFFFFF
    assert host.recv(1000, socket.MSG_WAITALL) == b"x" * 1000


def test_acknowledgement_of_a_question_goes_with_the_answer(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    assert guest.ask(client.segment(ACK | PSH, b"GET /")) == []
    client.sequence += 5
    host.sendall(b"200 OK")
    host.shutdown(socket.SHUT_WR)
    (answer,) = guest.wait()
    assert (answer.ack, answer.data) == (client.sequence & 0xFFFFFFFF, b"200 OK")
    assert answer.flags & FIN, "and the end too"
    guest.loop.advance_s(0.01)
    assert guest.port.seen() == []
    client.acknowledge([answer])
    # Who sends on without being answered is not kept waiting.
    (first,) = client.send(b"1")
    assert guest.ask(client.segment(ACK, b"2"))[0].ack == (client.sequence + 1) & 0xFFFFFFFF
    assert first.ack == client.sequence & 0xFFFFFFFF


def test_what_came_early_is_kept(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    start = client.sequence
    early = [client.segment(ACK, part * 10, sequence=start + at) for part, at in ((b"c", 20), (b"b", 10))]
    answers = guest.ask(*early)
    assert [one.ack for one in answers] == [start & 0xFFFFFFFF] * 2, "one duplicate for each"
    (answer,) = client.send(b"a" * 10)
    assert answer.ack == (start + 30) & 0xFFFFFFFF
    assert host.recv(30, socket.MSG_WAITALL) == b"a" * 10 + b"b" * 10 + b"c" * 10
    assert guest.net.buffered_bytes == 0


def test_what_came_before_is_acknowledged_again(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    start = client.sequence
    client.send(b"0123456789")
    (answer,) = guest.ask(client.segment(ACK, b"0123456789", sequence=start))
    assert answer.ack == client.sequence & 0xFFFFFFFF
    (answer,) = guest.ask(client.segment(ACK, b"56789abc", sequence=start + 5))
    assert answer.ack == (start + 13) & 0xFFFFFFFF
    assert host.recv(13, socket.MSG_WAITALL) == b"0123456789abc"


@given(st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_makes_the_same_stream(data: st.DataObject) -> None:
    """Segments cut anyhow, overlapping, doubled and shuffled, and again until all is there."""
    listener, guest = Listener(), Guest(FakePort())
    try:
        client, host = connected(guest, listener)
        content = bytes(range(256)) * 8
        start = client.sequence
        cuts = st.tuples(st.integers(0, len(content) - 1), st.integers(1, 700))
        for at, size in data.draw(st.lists(cuts, max_size=30)):
            guest.send(client.segment(ACK, content[at : at + size], sequence=start + at))
        taken = {one.ack for one in guest.port.seen()}
        assert all((ack - start) & 0xFFFFFFFF <= len(content) for ack in taken)
        for at in range(0, len(content), 500):
            guest.send(client.segment(ACK, content[at : at + 500], sequence=start + at))
        assert host.recv(len(content), socket.MSG_WAITALL) == content
        assert guest.port.seen()[-1].ack == (start + len(content)) & 0xFFFFFFFF
    finally:
        guest.net.close()
        listener.close()


def test_data_reaches_the_guest(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    content = bytes(range(250)) * 40
    host.sendall(content)
    taken = b""
    while len(taken) < len(content):
        taken += client.acknowledge(guest.wait())
    assert taken == content
    assert guest.net.buffered_bytes == 0


@pytest.mark.parametrize("offloads", [Offloads(), Offloads(checksum=True), ALL])
def test_super_frames_for_who_takes_them(
    make_guest: Callable[..., Guest], listener: Listener, offloads: Offloads
) -> None:
    guest = make_guest(FakePort(offloads=offloads))
    client, host = connected(guest, listener)
    guest.loop.turn()
    host.sendall(bytes(100_000))
    client.window = 1000
    guest.send(client.segment(ACK))
    received, sizes = 0, set[int]()
    while received < 100_000:
        frames = guest.wait()
        for one in frames:
            sizes.add(len(one.data))
            assert (one.frame.checksum_start >= 0) == offloads.checksum
            if len(one.data) > 1460:
                assert (one.frame.gso_type, one.frame.gso_size_bytes) == (1, 1460)
                assert one.frame.header_bytes == 54
        received += len(client.acknowledge(frames))
    assert (max(sizes) > 1460) == offloads.tso4
    assert max(sizes) % 1460 == 0


def test_window_of_the_guest_is_kept(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    client.window = 8  # times 128
    guest.send(client.segment(ACK))
    host.sendall(bytes(100_000))
    seen = guest.wait()
    guest.loop.turn(0.02)
    seen += guest.port.seen()
    assert sum(len(one.data) for one in seen) == 1024
    client.window = 0
    client.acknowledge(seen)
    guest.loop.turn(0.02)
    assert guest.port.seen() == []
    assert not any(fd in guest.loop.readers for fd in guest.loop.writers)


def test_closed_window_is_probed(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    client.window = 0
    guest.send(client.segment(ACK))
    host.sendall(b"hello")
    guest.loop.turn(0.02)
    guest.loop.advance_s(3)
    probes = guest.port.seen()
    assert len(probes) >= 3
    assert all(one.sequence == (client.expected - 1) & 0xFFFFFFFF and not one.data for one in probes)
    client.window = 100
    guest.send(client.segment(ACK))
    assert client.acknowledge(guest.wait()) == b"hello"


def test_lost_data_is_sent_again(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    host.sendall(b"hello")
    (first,) = guest.wait()
    guest.loop.advance_s(0.9)
    assert guest.port.seen() == []
    guest.loop.advance_s(0.2)
    (second,) = guest.port.seen()
    assert (second.sequence, second.data) == (first.sequence, b"hello")
    client.acknowledge([second])
    guest.loop.advance_s(100)
    assert guest.port.seen() == []


def test_what_the_guest_sends_does_not_put_off_a_repetition(guest: Guest, listener: Listener) -> None:
    """Spec: RFC 6298 5.3: only new acknowledgements do."""
    client, host = connected(guest, listener)
    host.sendall(b"hello")
    guest.wait()
    for _ in range(12):
        client.send(b"x")
        guest.loop.advance_s(0.1)
    assert guest.net.statistics.tcp_retransmitted == 1


def test_three_duplicates_mean_a_loss(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    host.sendall(bytes(14_600))
    seen = guest.wait(10)
    assert [len(one.data) for one in seen] == [1460] * 10
    again = guest.ask(*[client.segment(ACK)] * 2)
    assert again == []
    (again,) = guest.ask(client.segment(ACK))
    assert (again.sequence, len(again.data)) == (seen[0].sequence, 1460)
    # A partial acknowledgement says that the next is lost too (RFC 6582).
    client.expected += 1460
    partial = guest.ask(client.segment(ACK))
    assert seen[1].sequence in [one.sequence for one in partial]
    client.expected += 9 * 1460
    guest.send(client.segment(ACK))
    assert guest.net.buffered_bytes == 0


def test_guest_that_never_answers_is_given_up(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    host.sendall(b"hello")
    guest.wait()
    guest.loop.advance_s(2000)
    assert guest.port.seen()[-1].flags & RST
    with pytest.raises(ConnectionResetError):
        host.recv(1)
    assert client.sequence


def test_guest_without_buffers_loses_nothing(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    guest.loop.turn()
    guest.port.buffers = 3
    host.sendall(bytes(range(200)) * 100)
    guest.loop.until(lambda: guest.port.buffers == 0)
    guest.loop.turn(0.02)
    taken = b""
    for _ in range(200):
        frames = guest.port.seen()
        guest.port.buffers = 2
        taken += client.acknowledge(frames)
        guest.net.receive_ready()
        if len(taken) == 20_000:
            break
        guest.loop.turn(0.001)
    assert taken == bytes(range(200)) * 100
    assert guest.net.statistics.tcp_retransmitted == 0


def test_acknowledgement_without_a_buffer_comes_later(guest: Guest, listener: Listener) -> None:
    client, host = connected(guest, listener)
    guest.port.buffers = 0
    client.send(b"x" * 10)
    client.send(b"x" * 10)
    assert host.recv(20, socket.MSG_WAITALL) == b"x" * 20
    guest.port.buffers = 1
    guest.net.receive_ready()
    (answer,) = guest.port.seen()
    assert answer.ack == client.sequence & 0xFFFFFFFF


def test_slow_host_closes_the_window(make_guest: Callable[..., Guest], listener: Listener) -> None:
    limits = Limits(tcp_window_bytes=100_000)
    guest = make_guest(limits=limits)
    client, host = connected(guest, listener)
    sent, window = 0, 1
    while window:
        (answer,) = client.send(bytes(1460))
        sent += 1460
        assert sent < 50_000_000
        window = answer.window << 7
        if (answer.ack - client.sequence) & 0xFFFFFFFF:
            break
    assert guest.net.buffered_bytes <= 100_000
    (probe,) = guest.ask(client.segment(ACK, b"y", sequence=client.sequence))
    assert probe.window << 7 < 1460
    received = 0
    update = None
    while received < 1_000_000:
        received += len(host.recv(1 << 20))
        guest.loop.turn()
        for one in guest.port.seen():
            update = one
        if guest.net.buffered_bytes == 0:
            break
    assert update is not None and update.window << 7 > 50_000, "the window's opening is told"
