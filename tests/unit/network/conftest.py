# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a NAT on a loop of virtual time, with a guest made by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from innkeeper.network.host_resolver import HostResolver
from innkeeper.network.nat import UserNet
from innkeeper.network.policy import Policy
from tests.unit.network.listener import Listener
from tests.unit.network.loop import VirtualLoop
from tests.unit.network.packets import FakePort, Seen, frames


class Guest:
    """A NAT and the guest's end of its cable."""

    def __init__(self, port: FakePort, **options: Any) -> None:
        self.loop = VirtualLoop()
        self.port = port
        options.setdefault("policy", Policy.parse(allow=["host"]))
        options.setdefault("resolver", HostResolver(Path("/nonexistent"), Path("/nonexistent")))
        self.net = UserNet(self.loop, **options)
        self.net.attach(port)

    def send(self, *packets: bytes) -> None:
        self.net.send(frames(*packets))

    def ask(self, *packets: bytes) -> list[Seen]:
        """Send packets; what came back at once."""
        self.send(*packets)
        return self.port.seen()

    def wait(self, count: int = 1) -> list[Seen]:
        """Turn the loop until so many frames have come."""
        self.loop.until(lambda: len(self.port.frames) >= count)
        return self.port.seen()


@pytest.fixture
def make_guest() -> Iterator[Callable[..., Guest]]:
    guests: list[Guest] = []

    def make(port: FakePort | None = None, **options: Any) -> Guest:
        guests.append(Guest(port or FakePort(), **options))
        return guests[-1]

    yield make
    for guest in guests:
        guest.net.close()
        assert not guest.loop.readers and not guest.loop.writers, "sockets are left"


@pytest.fixture
def guest(make_guest: Callable[..., Guest]) -> Guest:
    return make_guest()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A server on the host's loopback whose connections are the test's."""
    server = Listener()
    yield server
    server.close()
