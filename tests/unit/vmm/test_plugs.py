# SPDX-License-Identifier: Apache-2.0
"""A cable whose other end is made later loses nothing of what the guest says before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from innkeeper.devices.virtio.net_frame import Frame, GuestPort, Offloads
from innkeeper.vmm.plugs import HELD_MAX, NetPlug


class Backend:
    def __init__(self) -> None:
        self.port: GuestPort | None = None
        self.sent: list[bytes] = []

    def attach(self, port: GuestPort) -> None:
        self.port = port

    def send(self, frames: Sequence[Frame]) -> None:
        assert self.port is not None
        self.sent += [bytes(frame.data) for frame in frames]

    def receive_ready(self) -> None:
        pass


class Device:
    mtu_bytes = 1500
    offloads = Offloads()

    def receive(self, frame: Frame) -> bool:
        return True


@pytest.fixture
def made() -> list[Backend]:
    return []


@pytest.fixture
def later() -> list[Callable[[], None]]:
    return []


@pytest.fixture
def plug(made: list[Backend], later: list[Callable[[], None]]) -> NetPlug:
    def connect() -> Backend:
        made.append(Backend())
        return made[-1]

    plug = NetPlug(connect, now=False, postpone=later.append)
    plug.attach(Device())
    return plug


def test_first_frames_wait_in_order(
    plug: NetPlug, made: list[Backend], later: list[Callable[[], None]]
) -> None:
    buffer = bytearray(b"one")
    plug.send([Frame(memoryview(buffer))])
    buffer[:] = b"two"  # the device uses its buffer again
    plug.send([Frame(memoryview(buffer))])
    assert not made and len(later) == 1
    later[0]()
    plug.send([Frame(b"three")])
    assert [backend.sent for backend in made] == [[b"one", b"two", b"three"]]


def test_many_frames_do_not_wait(plug: NetPlug, made: list[Backend]) -> None:
    frames = [Frame(b"%d" % number) for number in range(HELD_MAX + 2)]
    for frame in frames:
        plug.send([frame])
    assert made[0].sent == [frame.data for frame in frames]


def test_who_asks_for_the_other_end_has_it_at_once(
    plug: NetPlug, made: list[Backend], later: list[Callable[[], None]]
) -> None:
    plug.send([Frame(b"one")])
    assert plug.connected() is made[0]
    later[0]()
    assert len(made) == 1 and made[0].sent == [b"one"]


def test_what_waits_is_not_for_another_network(plug: NetPlug, made: list[Backend]) -> None:
    plug.send([Frame(b"one")])
    other = Backend()
    plug.plug_into(lambda: other, now=True)
    plug.send([Frame(b"two")])
    assert not made and other.sent == [b"two"]
