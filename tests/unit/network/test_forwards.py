# SPDX-License-Identifier: Apache-2.0
"""Ports of the host that lead to a guest made by hand."""

from __future__ import annotations

import socket

import pytest

from innkeeper.errors import ConfigError, HostError
from innkeeper.network.forwards import Forward
from tests.unit.network.conftest import Guest
from tests.unit.network.guest_tcp import GuestTcp
from tests.unit.network.packets import (
    ACK,
    GATEWAY,
    GUEST,
    RST,
    SYN,
    tcp,
    udp,
)


def test_forwarded_connection(guest: Guest) -> None:
    forward = guest.net.add_forward(Forward.parse("0:80"))
    assert guest.net.forwards == (forward,)
    with socket.create_connection(("127.0.0.1", forward.host_port), timeout=30) as client:
        (syn,) = guest.wait()
        assert (syn.flags, syn.source, syn.target, syn.ports[1]) == (SYN, GATEWAY, GUEST, 80)
        assert syn.ports[0] == client.getsockname()[1]
        guest.loop.advance_s(1.1)
        (again,) = guest.port.seen()
        assert again.sequence == syn.sequence, "the guest is asked until it is up"
        end = GuestTcp(guest, syn.ports[0], source_port=80)
        guest.send(end.segment(SYN | ACK, ack=syn.sequence + 1, options=end.options))
        end.sequence, end.expected = end.sequence + 1, syn.sequence + 1
        (ack,) = guest.port.seen()
        assert (ack.flags, ack.ack) == (ACK, end.sequence & 0xFFFFFFFF)
        client.sendall(b"GET /")
        assert end.acknowledge(guest.wait()) == b"GET /"
        end.send(b"200 OK")
        assert client.recv(10) == b"200 OK"


def test_forwarded_connection_that_the_guest_refuses(guest: Guest) -> None:
    forward = guest.net.add_forward(Forward.parse("0:80"))
    with socket.create_connection(("127.0.0.1", forward.host_port), timeout=30) as client:
        (syn,) = guest.wait()
        guest.send(tcp(GUEST, 80, GATEWAY, syn.ports[0], 0, syn.sequence + 1, RST | ACK))
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_forwarded_datagrams(guest: Guest) -> None:
    """Two clients with the same port, at different addresses, are told apart."""
    forward = guest.net.add_forward(Forward.parse("0:53/udp"))
    first, second = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    first.bind(("127.0.0.1", 0))
    second.bind(("127.0.0.2", first.getsockname()[1]))
    for number, client in enumerate((first, second)):
        client.settimeout(30)
        client.sendto(bytes((number,)), ("127.0.0.1", forward.host_port))
    seen = guest.wait(2)
    assert len({one.ports[0] for one in seen}) == 2
    for one in seen:
        guest.send(udp(GUEST, 53, GATEWAY, one.ports[0], b"re" + one.udp_data))
    assert (first.recv(10), second.recv(10)) == (b"re\0", b"re\1")
    guest.net.remove_forward(forward)
    assert guest.net.statistics.udp_open == 0
    first.close()
    second.close()


def test_port_in_use_is_told(guest: Guest) -> None:
    forward = guest.net.add_forward(Forward.parse("0:80"))
    with pytest.raises(HostError, match="in use"):
        guest.net.add_forward(Forward(forward.host_port, 81))
    guest.net.remove_forward(forward)
    guest.net.add_forward(Forward(forward.host_port, 81))
    with pytest.raises(ConfigError):
        guest.net.remove_forward(Forward(1, 1))
    with pytest.raises(ConfigError, match="not an address of this host"):
        guest.net.add_forward(Forward.parse("192.0.2.254:0:80"))


@pytest.mark.parametrize(
    ("text", "forward"),
    [
        ("8080:80", Forward(8080, 80)),
        ("0.0.0.0:8080:80/tcp", Forward(8080, 80, "0.0.0.0")),
        ("[::1]:53:53/UDP", Forward(53, 53, "::1", "udp")),
    ],
)
def test_forwards_as_text(text: str, forward: Forward) -> None:
    assert Forward.parse(text) == forward
    assert Forward.parse(str(forward)) == forward


@pytest.mark.parametrize(
    "text", ["", "80", "80:", "a:80", "1:0", "70000:1", "1:70000", "1.2.3:1:2", "1:2/sctp", "::1:1:2"]
)
def test_bad_forwards(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Forward.parse(text)
    assert raised.value.remedy
