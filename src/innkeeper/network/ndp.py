# SPDX-License-Identifier: Apache-2.0
"""IPv6 neighbour discovery: who we are, and what prefix, router and DNS server the guest has.

Spec: RFC 4861 6.2 "Router Specification" and 7.2 "Address Resolution", RFC 8106 for DNS.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable

from innkeeper.network import icmp
from innkeeper.network.dhcp import HostConfiguration, encode_name
from innkeeper.network.ethernet import GATEWAY_MAC
from innkeeper.network.link import GuestLink
from innkeeper.network.subnet import ALL_NODES6, UNSPECIFIED6, Subnet
from innkeeper.spec.internet import (
    ICMPV6_NEIGHBOR_ADVERTISEMENT,
    ICMPV6_NEIGHBOR_SOLICITATION,
    ICMPV6_ROUTER_ADVERTISEMENT,
    ICMPV6_ROUTER_SOLICITATION,
    NDP_DNS_SEARCH,
    NDP_MTU,
    NDP_PREFIX_INFORMATION,
    NDP_RECURSIVE_DNS,
    NDP_SOURCE_LINK_ADDRESS,
    NDP_TARGET_LINK_ADDRESS,
)

_HOP_LIMIT = 255
"""A message with less came through a router (RFC 4861 6.1, 7.1)."""
_LIFETIME_S = 65_535
_ROUTER_LIFETIME_S = 9000
_OTHER_CONFIGURATION = 0x40
_ON_LINK_AUTONOMOUS = 0xC0
_ROUTER_SOLICITED_OVERRIDE = 0xE000_0000
_SOLICITATION_BYTES = 24
_ANYWHERE = "2000::1"


def host_has_ipv6() -> bool:
    """Whether the host has a route to the internet in IPv6. Nothing is sent."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.connect((_ANYWHERE, 9))
        return True
    return False


class NeighborDiscovery:
    """Answers solicitations for our addresses and for a router."""

    def __init__(
        self,
        link: GuestLink,
        subnet: Subnet,
        configuration: HostConfiguration,
        has_ipv6: Callable[[], bool] = host_has_ipv6,
    ) -> None:
        self._link, self._subnet, self._configuration = link, subnet, configuration
        self._has_ipv6 = has_ipv6

    def handle(self, source: bytes, message: memoryview, hop_limit: int) -> None:
        """A message of ICMPv6 that is no echo, its checksum verified."""
        if not ICMPV6_ROUTER_SOLICITATION <= message[0] <= ICMPV6_NEIGHBOR_ADVERTISEMENT:
            # Multicast groups that the guest joins (RFC 3810), and errors about what we sent.
            return
        if hop_limit != _HOP_LIMIT or message[1] != 0 or len(message) < 8:
            self._link.statistics.dropped["damaged neighbour discovery"] += 1
        elif message[0] == ICMPV6_ROUTER_SOLICITATION:
            self.advertise()
        elif message[0] == ICMPV6_NEIGHBOR_SOLICITATION and len(message) >= _SOLICITATION_BYTES:
            self._solicited(source, bytes(message[8:_SOLICITATION_BYTES]))

    def _solicited(self, source: bytes, target: bytes) -> None:
        """Spec: RFC 4861 7.2.4. A guest that probes for duplicates (RFC 4862 5.4) has no address yet."""
        if target not in (self._subnet.gateway6, self._subnet.dns6, self._subnet.router6):
            return
        flags = _ROUTER_SOLICITED_OVERRIDE
        if source == UNSPECIFIED6:
            source, flags = ALL_NODES6, flags & ~0x4000_0000
        message = struct.pack("!BBHI", ICMPV6_NEIGHBOR_ADVERTISEMENT, 0, 0, flags) + target
        message += _link_address(NDP_TARGET_LINK_ADDRESS)
        icmp.send(self._link, target, source, message, hop_limit=_HOP_LIMIT)

    def advertise(self) -> None:
        """Send a router advertisement to the guest. Spec: RFC 4861 4.2.

        Where the host has no IPv6 we are no default router, so that nobody waits for what cannot come.
        """
        lifetime_s = _ROUTER_LIFETIME_S if self._has_ipv6() else 0
        message = struct.pack(
            "!BBHBBHII", ICMPV6_ROUTER_ADVERTISEMENT, 0, 0, 64, _OTHER_CONFIGURATION, lifetime_s, 0, 0
        )
        message += _link_address(NDP_SOURCE_LINK_ADDRESS)
        message += struct.pack("!BBHI", NDP_MTU, 1, 0, self._configuration.mtu_bytes)
        message += struct.pack(
            "!BBBBIII16s", NDP_PREFIX_INFORMATION, 4, 64, _ON_LINK_AUTONOMOUS, _LIFETIME_S, _LIFETIME_S, 0,
            self._subnet.prefix6,
        )  # fmt: skip
        message += struct.pack("!BBHI16s", NDP_RECURSIVE_DNS, 3, 0, _LIFETIME_S, self._subnet.dns6)
        search = b"".join(map(encode_name, self._configuration.search))[:1024]
        if search:
            padded = search + bytes(-len(search) % 8)
            message += struct.pack("!BBHI", NDP_DNS_SEARCH, 1 + len(padded) // 8, 0, _LIFETIME_S) + padded
        icmp.send(self._link, self._subnet.router6, ALL_NODES6, message, hop_limit=_HOP_LIMIT)


def _link_address(kind: int) -> bytes:
    return bytes((kind, 1)) + GATEWAY_MAC
