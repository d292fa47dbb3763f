# SPDX-License-Identifier: Apache-2.0
"""ARP: the NAT answers for its own addresses. Spec: RFC 826."""

from __future__ import annotations

import struct

from innkeeper.network.ethernet import GATEWAY_MAC
from innkeeper.network.link import GuestLink
from innkeeper.network.subnet import Subnet
from innkeeper.spec.internet import ARP_REPLY, ARP_REQUEST, ETHERTYPE_ARP, ETHERTYPE_IPV4

_PACKET = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET = 1


def handle(link: GuestLink, subnet: Subnet, packet: memoryview) -> None:
    """Answer a request of the guest for one of our addresses."""
    if len(packet) < _PACKET.size:
        link.statistics.dropped["damaged ARP packet"] += 1
        return
    hardware, protocol, hardware_bytes, protocol_bytes, operation, mac, source, _, target = (
        _PACKET.unpack_from(packet)
    )
    if (hardware, protocol, hardware_bytes, protocol_bytes) != (_ETHERNET, ETHERTYPE_IPV4, 6, 4):
        link.statistics.dropped["damaged ARP packet"] += 1
        return
    # A probe for an address in use (RFC 5227) has no source; it is answered like any request.
    if operation == ARP_REQUEST and target in (subnet.gateway4, subnet.dns4):
        reply = _PACKET.pack(_ETHERNET, ETHERTYPE_IPV4, 6, 4, ARP_REPLY, GATEWAY_MAC, target, mac, source)
        link.send_ethernet(ETHERTYPE_ARP, reply)
