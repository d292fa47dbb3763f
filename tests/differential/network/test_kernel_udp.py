# SPDX-License-Identifier: Apache-2.0
"""UDP and pings of a kernel as guest of our NAT."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest

from innkeeper.network.forwards import Forward
from tests.differential.network.servers import UdpEcho
from tests.differential.network.tap_link import TapGuest

GATEWAY, GATEWAY6 = "10.0.2.2", "fd00:a:0:2::2"
SIZES = [0, 1, 100, 1472, 1473, 9000, 60_000, 65_507]
"""Around the MTU, in fragments, and the largest datagram of IPv4."""


@pytest.mark.parametrize("offloads", [True, False])
def test_datagrams_there_and_back(
    make_guest: Callable[..., TapGuest], udp_echo: UdpEcho, offloads: bool
) -> None:
    guest = make_guest(offloads=offloads)
    sizes = SIZES[1:]
    answer = guest.do("udp_exchange", address=GATEWAY, port=udp_echo.port, sizes=sizes)
    assert answer == {"right": len(sizes), "errno": 0}
    assert guest.net.statistics.udp_opened == 1


def test_datagrams_over_ipv6(guest: TapGuest) -> None:
    server = UdpEcho("::1")
    try:
        guest.do("wait_ipv6")
        sizes = [1, 1452, 1453, 30_000]
        answer = guest.do("udp_exchange", address=GATEWAY6, port=server.port, sizes=sizes)
        assert answer == {"right": len(sizes), "errno": 0}
    finally:
        server.close()


@pytest.mark.parametrize(("address", "family"), [(GATEWAY, socket.AF_INET), (GATEWAY6, socket.AF_INET6)])
def test_closed_port_is_told_as_such(guest: TapGuest, address: str, family: int) -> None:
    guest.do("wait_ipv6")
    with socket.socket(family, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        port = unused.getsockname()[1]
    answer = guest.do("udp_exchange", address=address, port=port, sizes=[10])
    assert answer == {"right": 0, "errno": errno.ECONNREFUSED}


def test_policy_refuses_datagrams(guest: TapGuest) -> None:
    answer = guest.do("udp_exchange", address="192.168.7.7", port=9, sizes=[10])
    assert answer == {"right": 0, "errno": errno.EHOSTUNREACH}


def test_port_of_the_host_leads_to_the_guest(guest: TapGuest) -> None:
    guest.do("udp_listen", port=5353)
    with guest.lock:
        forward = guest.net.add_forward(Forward.parse("0:5353/udp"))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second,
    ):
        for client in (first, second):
            client.settimeout(60)
            client.connect(("127.0.0.1", forward.host_port))
        first.send(b"one")
        second.send(b"two")
        assert (second.recv(10), first.recv(10)) == (b"two", b"one")


def test_pings_of_the_gateway(guest: TapGuest) -> None:
    guest.do("wait_ipv6")
    for address in (GATEWAY, "10.0.2.3", GATEWAY6, "fd00:a:0:2::3"):
        for size_bytes in (0, 56, 8000):
            assert guest.do("ping", address=address, size_bytes=size_bytes) == {"right": True}
