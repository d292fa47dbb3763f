# SPDX-License-Identifier: Apache-2.0
"""ICMP and ICMPv6 messages to the guest. Spec: RFC 792, RFC 4443."""

from __future__ import annotations

import enum
import struct

from innkeeper.network import ipv4, ipv6
from innkeeper.network.checksum import checksum, fold, ones_sum, pseudo_sum
from innkeeper.network.link import GuestLink
from innkeeper.network.subnet import Subnet
from innkeeper.spec.internet import (
    ICMP_FRAGMENTATION_NEEDED,
    ICMP_HOST_UNREACHABLE,
    ICMP_NET_UNREACHABLE,
    ICMP_PORT_UNREACHABLE,
    ICMP_PROHIBITED,
    ICMP_UNREACHABLE,
    ICMPV6_ADDRESS_UNREACHABLE,
    ICMPV6_NO_ROUTE,
    ICMPV6_PACKET_TOO_BIG,
    ICMPV6_PORT_UNREACHABLE,
    ICMPV6_PROHIBITED,
    ICMPV6_UNREACHABLE,
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
)

_MESSAGE = struct.Struct("!BBHI")
HEADER_BYTES = _MESSAGE.size


class Unreachable(enum.Enum):
    """Why a packet did not arrive: the codes of ICMP and ICMPv6."""

    NET = (ICMP_NET_UNREACHABLE, ICMPV6_NO_ROUTE)
    HOST = (ICMP_HOST_UNREACHABLE, ICMPV6_ADDRESS_UNREACHABLE)
    PORT = (ICMP_PORT_UNREACHABLE, ICMPV6_PORT_UNREACHABLE)
    PROHIBITED = (ICMP_PROHIBITED, ICMPV6_PROHIBITED)


def send(link: GuestLink, source: bytes, target: bytes, message: bytes, *, hop_limit: int = 64) -> None:
    """Send `message`, whose checksum field is zero, in the version of ICMP that the addresses ask for."""
    if len(source) == 4:
        protocol, stored = PROTOCOL_ICMP, checksum(message)
    else:
        protocol = PROTOCOL_ICMPV6
        stored = fold(pseudo_sum(source, target, protocol, len(message)) + ones_sum(message)) ^ 0xFFFF
    whole = message[:2] + stored.to_bytes(2, "big") + message[4:]
    link.send_ip(source, target, protocol, whole, hop_limit=hop_limit)


def is_intact(source: bytes, target: bytes, message: memoryview) -> bool:
    """Whether the checksum of a guest's message is right."""
    if len(source) == 4:
        return ones_sum(message) == 0xFFFF
    return fold(pseudo_sum(source, target, PROTOCOL_ICMPV6, len(message)) + ones_sum(message)) == 0xFFFF


class Errors:
    """Tells a guest what became of a packet. `source` to `head` are those of the guest's packet.

    `head` is the first 8 bytes behind its IP header, by which the guest finds whose packet it was.
    """

    def __init__(self, link: GuestLink, subnet: Subnet) -> None:
        self._link, self._subnet = link, subnet

    def unreachable(
        self, reason: Unreachable, source: bytes, target: bytes, protocol: int, head: bytes
    ) -> None:
        if len(source) == 4:
            self._send(ICMP_UNREACHABLE, reason.value[0], 0, source, target, protocol, head)
        else:
            self._send(ICMPV6_UNREACHABLE, reason.value[1], 0, source, target, protocol, head)

    def too_big(self, mtu_bytes: int, source: bytes, target: bytes, protocol: int, head: bytes) -> None:
        """Spec: RFC 1191 4, RFC 4443 3.2."""
        if len(source) == 4:
            mtu_bytes = min(mtu_bytes, 0xFFFF)
            self._send(ICMP_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED, mtu_bytes, source, target, protocol, head)
        else:
            self._send(ICMPV6_PACKET_TOO_BIG, 0, mtu_bytes, source, target, protocol, head)

    def _send(
        self, kind: int, code: int, rest: int, source: bytes, target: bytes, protocol: int, head: bytes
    ) -> None:
        header = ipv4.header if len(source) == 4 else ipv6.header
        router = self._subnet.gateway4 if len(source) == 4 else self._subnet.gateway6
        inner = header(source, target, protocol, len(head)) + head
        send(self._link, router, source, _MESSAGE.pack(kind, code, 0, rest) + inner)
