# SPDX-License-Identifier: Apache-2.0
"""Pings of a guest made by hand to other hosts."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from innkeeper.network.limits import Limits
from innkeeper.network.policy import Policy
from tests.unit.network.conftest import Guest
from tests.unit.network.packets import GUEST, icmp

REQUEST = b"\x08\0\0\0\0\x07\0\x01abc"


def own_address() -> str:
    """An address of this host that is not on loopback; the test is skipped where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.254", 9))
        except OSError:
            pytest.skip("this host has no network")
        return str(probe.getsockname()[0])


def require_ping_sockets() -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()
    except OSError:
        pytest.skip("this host lets no one ping: net.ipv4.ping_group_range")


def test_through_the_hosts_ping_sockets(make_guest: Callable[..., Guest]) -> None:
    require_ping_sockets()
    address = own_address()
    guest = make_guest(policy=Policy.parse(allow=[address]), limits=Limits(echo_idle_s=20))
    guest.send(icmp(GUEST, address, REQUEST))
    (seen,) = guest.wait()
    assert (seen.source, seen.payload[0], seen.payload[4:]) == (address, 0, REQUEST[4:])
    assert guest.net.statistics.echo_open == 1
    guest.loop.advance_s(40)
    assert guest.net.statistics.echo_open == 0


def test_what_cannot_be_pinged_is_told(guest: Guest) -> None:
    (seen,) = guest.ask(icmp(GUEST, "192.168.1.1", REQUEST))
    assert seen.payload[:2] == b"\x03\x0d"
    assert seen.payload[28:36] == icmp(GUEST, "192.168.1.1", REQUEST)[34:42]
    (seen,) = guest.ask(icmp(GUEST, "10.0.2.77", REQUEST))
    assert seen.payload[:2] == b"\x03\x01"
