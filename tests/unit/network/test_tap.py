# SPDX-License-Identifier: Apache-2.0
"""The TAP backend over a pair of sockets, and TAP interfaces of the host where this user may have them."""

from __future__ import annotations

import os
import socket

import pytest

from innkeeper.devices.virtio.net_frame import Frame, Offloads
from innkeeper.devices.virtio.net_header import pack
from innkeeper.errors import ConfigError, HostError
from innkeeper.host.tap import Tap
from innkeeper.network.tap import TapBackend
from innkeeper.spec.virtio import NET_HEADER_BYTES
from tests.unit.network.loop import VirtualLoop

FRAME = bytes(range(14)) + b"payload"


class FakeTap:
    """One end of a pair of sockets that keeps packets apart, as a TAP interface does."""

    def __init__(self) -> None:
        self._ours, self.host = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self.host.settimeout(10)
        self.fd = self._ours.fileno()
        self.offloads: list[tuple[bool, bool, bool]] = []

    def set_offloads(self, *, checksum: bool, tso4: bool, tso6: bool) -> None:
        self.offloads.append((checksum, tso4, tso6))

    def close(self) -> None:
        self._ours.close()


class Port:
    mtu_bytes = 1500

    def __init__(self) -> None:
        self.got: list[Frame] = []
        self.room = 1 << 30
        self.offloads = Offloads(checksum=True, tso4=True)

    def receive(self, frame: Frame) -> bool:
        if len(self.got) >= self.room:
            return False
        frame.data = bytes(frame.data)
        self.got.append(frame)
        return True


@pytest.fixture
def bench() -> tuple[VirtualLoop, FakeTap, Port, TapBackend]:
    loop, tap, port = VirtualLoop(), FakeTap(), Port()
    backend = TapBackend(loop, tap)
    backend.attach(port)
    return loop, tap, port, backend


def test_frames_and_their_offloads_both_ways(bench):
    loop, tap, port, backend = bench
    frame = Frame(FRAME * 10, 1, 100, 54, 34, 16)
    tap.host.send(pack(frame) + frame.data)
    tap.host.send(pack(Frame(FRAME)) + FRAME)
    loop.turn()
    assert port.got == [frame, Frame(FRAME)]
    assert tap.offloads == [(True, True, False)]
    backend.send([frame, Frame(memoryview(FRAME))])
    assert tap.host.recv(4096) == pack(frame) + frame.data
    assert tap.host.recv(4096) == bytes(10) + b"\1\0" + FRAME
    port.offloads = Offloads()
    tap.host.send(pack(Frame(FRAME)) + FRAME)
    loop.turn()
    assert tap.offloads[1:] == [(False, False, False)]


def test_it_waits_for_the_guest_and_drops_what_the_host_has_no_room_for(bench):
    loop, tap, port, backend = bench
    port.room = 1
    for number in range(5):
        tap.host.send(pack(Frame(b"")) + FRAME + bytes((number,)))
    for _ in range(3):
        loop.turn()
    assert len(port.got) == 1 and loop.readers == {}
    port.room = 1 << 30
    backend.receive_ready()
    loop.turn()
    assert [frame.data[-1] for frame in port.got] == [0, 1, 2, 3, 4]
    for _ in range(10000):
        backend.send([Frame(bytes(1400))])
    assert backend.dropped_frames > 0


@pytest.mark.parametrize("packet", [b"x", bytes(11), bytes(12 + 13), b"\1\1" + bytes(100), bytes(12 + 65554)])
def test_what_makes_no_sense_is_dropped(bench, packet):
    loop, tap, port, backend = bench
    tap.host.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    tap.host.send(packet)
    loop.turn()
    assert port.got == [] and backend.dropped_frames == 1
    backend.close()
    assert loop.readers == {}


@pytest.mark.parametrize("name", ["a/b", "sixteen-letters-", "a b", "%d\0"])
def test_names_that_no_interface_has(name):
    with pytest.raises(ConfigError):
        Tap(name, NET_HEADER_BYTES)


def test_an_interface_of_the_host():
    try:
        tap = Tap("", NET_HEADER_BYTES)
    except HostError as error:
        pytest.skip(f"no TAP interfaces for us: {error}")
    try:
        assert os.path.exists(f"/sys/class/net/{tap.name}")
        tap.set_offloads(checksum=True, tso4=True, tso6=True)
        tap.set_offloads(checksum=False, tso4=False, tso6=False)
        with pytest.raises(HostError, match="in use"):
            Tap(tap.name, NET_HEADER_BYTES)
        with pytest.raises(HostError, match="bridge"):
            tap.bring_up("no-such-bridge")
        with pytest.raises(HostError):
            Tap("lo", NET_HEADER_BYTES)
    finally:
        tap.close()
    assert not os.path.exists(f"/sys/class/net/{tap.name}")
