# SPDX-License-Identifier: Apache-2.0
"""How a guest gets its addresses: ARP, DHCP, neighbour discovery, DHCPv6."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from innkeeper.network.host_resolver import HostResolver
from tests.unit.network.conftest import Guest
from tests.unit.network.packets import (
    DNS,
    DNS6,
    GATEWAY,
    GATEWAY6,
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    Seen,
    ethernet,
    icmp,
    packed,
    udp,
)

DISCOVER, OFFER, REQUEST, ACK, NAK, INFORM = 1, 2, 3, 5, 6, 8


def arp_request(target: str) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + GUEST_MAC + packed(GUEST) + bytes(6) + packed(target)
    return ethernet(0x0806, body)


@pytest.mark.parametrize("address", [GATEWAY, DNS])
def test_arp_finds_our_addresses(guest: Guest, address: str) -> None:
    (reply,) = guest.ask(arp_request(address))
    assert reply.payload[6:8] == b"\0\x02"
    assert reply.payload[8:18] == GATEWAY_MAC + packed(address)
    assert reply.payload[18:28] == GUEST_MAC + packed(GUEST)
    assert bytes(reply.frame.data)[:6] == GUEST_MAC


@pytest.mark.parametrize("address", [GUEST, "10.0.2.9", "8.8.8.8"])
def test_arp_finds_nobody_else(guest: Guest, address: str) -> None:
    assert guest.ask(arp_request(address)) == []


def dhcp(
    kind: int,
    *,
    client: str = "0.0.0.0",
    server: str = "",
    requested: str = "",
    target: str = "255.255.255.255",
) -> bytes:
    options = bytes((53, 1, kind))
    if requested:
        options += bytes((50, 4)) + packed(requested)
    if server:
        options += bytes((54, 4)) + packed(server)
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x1234, 0, 0)
    addresses = struct.pack("!4s4s4s4s16s64s128s", packed(client), b"", b"", b"", GUEST_MAC, b"", b"")
    magic = bytes.fromhex("63825363")
    return udp(client, 68, target, 67, head + addresses + magic + options + b"\xff")


def dhcp_options(seen: Seen) -> dict[int, bytes]:
    data, options, at = seen.udp_data[240:], {}, 0
    while data[at] != 255:
        options[data[at]] = data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return options


def test_dhcp_gives_the_address(make_guest: Callable[..., Guest], tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1\nsearch example.com lab.example.com\n")
    guest = make_guest(host_name="box", resolver=HostResolver(tmp_path / "resolv.conf", tmp_path / "hosts"))
    (offer,) = guest.ask(dhcp(DISCOVER))
    assert (offer.source, offer.target, offer.ports) == (GATEWAY, "255.255.255.255", (67, 68))
    assert offer.udp_data[16:20] == packed(GUEST)
    (ack,) = guest.ask(dhcp(REQUEST, requested=GUEST, server=GATEWAY))
    assert ack.udp_data[4:8] == b"\0\0\x12\x34" and ack.udp_data[16:20] == packed(GUEST)
    options = dhcp_options(ack)
    assert options[53] == bytes((ACK,))
    assert (options[1], options[3], options[6]) == (packed("255.255.255.0"), packed(GATEWAY), packed(DNS))
    assert (options[12], options[15], options[26]) == (b"box", b"example.com", b"\x05\xdc")
    assert options[119] == b"\x07example\x03com\0\x03lab\x07example\x03com\0"
    assert int.from_bytes(options[51], "big") >= 3600


def test_dhcp_refuses_other_addresses(guest: Guest) -> None:
    (nak,) = guest.ask(dhcp(REQUEST, requested="10.0.2.77"))
    assert dhcp_options(nak)[53] == bytes((NAK,))
    assert nak.udp_data[16:20] == bytes(4)


def test_dhcp_renews_by_unicast(guest: Guest) -> None:
    (ack,) = guest.ask(dhcp(REQUEST, client=GUEST, target=GATEWAY))
    assert (dhcp_options(ack)[53], ack.target) == (bytes((ACK,)), GUEST)


def test_dhcp_informs_without_a_lease(guest: Guest) -> None:
    (ack,) = guest.ask(dhcp(INFORM, client="10.0.2.20", target=GATEWAY))
    assert ack.udp_data[16:20] == bytes(4) and 51 not in dhcp_options(ack)
    assert dhcp_options(ack)[6] == packed(DNS)


def test_dhcp_of_another_server_is_not_ours(guest: Guest) -> None:
    assert guest.ask(dhcp(REQUEST, requested="10.0.2.77", server="10.0.2.99")) == []


def test_router_advertisement(guest: Guest) -> None:
    (seen,) = guest.ask(icmp("fe80::1", "ff02::2", bytes((133, 0, 0, 0)) + bytes(4), hop_limit=255))
    assert (seen.source, seen.target, seen.hop_limit) == ("fe80::2", "ff02::1", 255)
    assert bytes(seen.frame.data)[:6] == bytes.fromhex("333300000001")
    options, at = {}, 16
    while at < len(seen.payload):
        size_bytes = seen.payload[at + 1] * 8
        options[seen.payload[at]] = seen.payload[at : at + size_bytes]
        at += size_bytes
    prefix = options[3]
    assert (prefix[2], prefix[3], prefix[16:]) == (64, 0xC0, packed("fd00:a:0:2::"))
    assert options[25][8:] == packed(DNS6)
    assert options[5][4:] == (1500).to_bytes(4, "big")
    assert options[1][2:] == GATEWAY_MAC


@pytest.mark.parametrize("address", [GATEWAY6, DNS6, "fe80::2"])
def test_neighbour_advertisement(guest: Guest, address: str) -> None:
    request = bytes((135, 0, 0, 0)) + bytes(4) + packed(address) + b"\1\1" + GUEST_MAC
    (seen,) = guest.ask(icmp("fe80::1", "ff02::1:ff00:2", request, hop_limit=255))
    assert (seen.source, seen.target, seen.payload[0]) == (address, "fe80::1", 136)
    assert seen.payload[8:24] == packed(address)
    assert seen.payload[24:] == b"\2\1" + GATEWAY_MAC
    (probe,) = guest.ask(icmp("::", "ff02::1:ff00:2", request[:24], hop_limit=255))
    assert (probe.target, probe.payload[4] & 0x40) == ("ff02::1", 0)


def test_messages_from_beyond_a_router_are_ignored(guest: Guest) -> None:
    request = bytes((135, 0, 0, 0)) + bytes(4) + packed(GATEWAY6)
    assert guest.ask(icmp("fe80::1", GATEWAY6, request, hop_limit=254)) == []
    other = bytes((135, 0, 0, 0)) + bytes(4) + packed("fd00:a:0:2::99")
    assert guest.ask(icmp("fe80::1", "ff02::1:ff00:99", other, hop_limit=255)) == []


def dhcpv6_options(data: bytes) -> dict[int, bytes]:
    options, at = {}, 4
    while at < len(data):
        code, size_bytes = struct.unpack_from("!HH", data, at)
        options[code] = data[at + 4 : at + 4 + size_bytes]
        at += 4 + size_bytes
    return options


def test_dhcpv6_tells_the_dns_server(guest: Guest) -> None:
    client = struct.pack("!HHHH", 1, 4, 3, 1)
    (seen,) = guest.ask(udp("fe80::1", 546, "ff02::1:2", 547, b"\x0babc" + client))
    assert (seen.target, seen.ports, seen.udp_data[:4]) == ("fe80::1", (547, 546), b"\x07abc")
    options = dhcpv6_options(seen.udp_data)
    assert options[23] == packed(DNS6) and options[1] == client[4:]


def test_dhcpv6_has_no_addresses(guest: Guest) -> None:
    client = struct.pack("!HHHH", 1, 4, 3, 1)
    (seen,) = guest.ask(udp("fe80::1", 546, "ff02::1:2", 547, b"\x01abc" + client))
    assert seen.udp_data[0] == 2
    assert dhcpv6_options(seen.udp_data)[13][:2] == b"\0\x02"


@pytest.mark.parametrize(("source", "target"), [(GUEST, GATEWAY), ("fd00:a:0:2::15", GATEWAY6)])
def test_ping_of_the_gateway(guest: Guest, source: str, target: str) -> None:
    request = bytes((128 if ":" in source else 8, 0, 0, 0)) + b"\0\x07\0\x01payload"
    (seen,) = guest.ask(icmp(source, target, request))
    assert (seen.source, seen.target) == (target, source)
    assert (seen.payload[0], seen.payload[4:]) == (129 if ":" in source else 0, request[4:])
