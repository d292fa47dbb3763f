# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a kernel as guest of our NAT, and servers for it. Without root they skip (fail where CI=true)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from innkeeper.machine.io_loop import IoLoop
from innkeeper.network.nat import UserNet
from innkeeper.network.policy import Policy
from tests.differential.network.servers import Server, UdpEcho, echo
from tests.differential.network.tap_link import GUEST_MAC, TapGuest
from tests.oracle.fixtures import unavailable

OPEN_TO_HOST = Policy.parse(allow=["host"])
"""The tests' servers are on the host's loopback."""


def can_make_guest() -> bool:
    return os.geteuid() == 0 and os.path.exists("/dev/net/tun") and shutil.which("ip") is not None


@pytest.fixture
def make_guest() -> Iterator[Callable[..., TapGuest]]:
    """`make_guest(**options of TapGuest)` with a NAT through which the host's loopback is open."""
    if not can_make_guest():
        unavailable("a network namespace with a TAP device needs root, /dev/net/tun and iproute2")
    guests: list[TapGuest] = []

    def make_net(loop: IoLoop) -> UserNet:
        return UserNet(loop, policy=OPEN_TO_HOST, guest_mac=GUEST_MAC)

    def make(**options: Any) -> TapGuest:
        guests.append(TapGuest(options.pop("make", make_net), **options))
        return guests[-1]

    yield make
    for guest in guests:
        guest.close()


@pytest.fixture
def guest(make_guest: Callable[..., TapGuest]) -> TapGuest:
    """A guest on a cable in fair weather, with all offloads."""
    return make_guest()


@pytest.fixture
def echo_server() -> Iterator[Server]:
    """Sends back what it got, when that has ended."""
    server = Server(echo)
    yield server
    server.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """Its connections are the test's."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def udp_echo() -> Iterator[UdpEcho]:
    server = UdpEcho()
    yield server
    server.close()
