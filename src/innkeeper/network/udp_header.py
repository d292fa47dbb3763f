# SPDX-License-Identifier: Apache-2.0
"""Ethernet, IP and UDP headers of a flow towards the guest. Spec: RFC 768."""

from __future__ import annotations

import struct

from innkeeper.devices.virtio.net_frame import Frame
from innkeeper.network import ethernet
from innkeeper.network.checksum import Bytes, fold, ones_sum, pseudo_sum
from innkeeper.network.link import GuestLink
from innkeeper.spec.internet import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    PROTOCOL_UDP,
    UDP_CHECKSUM_OFFSET,
    UDP_HEADER_BYTES,
)

HEADER = struct.Struct("!HHHH")
"""Source port, target port, length, checksum."""
# Ethernet, version, class; total length; identification to protocol; checksum; addresses, ports.
_IPV4 = struct.Struct("!16sH6sH12sHH")
# Ethernet, version, class and flow; payload length; next header, hop limit, addresses and ports.
_IPV6 = struct.Struct("!18sH38sHH")
_IPV4_HEADER_BYTES, _IPV6_HEADER_BYTES = 20, 40


class UdpHeaderWriter:
    """Sends datagrams from `source` to `target`; what stays the same in a flow is computed once."""

    __slots__ = (
        "_checksum_base", "_ends", "_fixed", "_is_v4", "_link", "_prefix", "_pseudo_base", "_start",
    )  # fmt: skip

    def __init__(
        self, link: GuestLink, source: bytes, source_port: int, target: bytes, target_port: int
    ) -> None:
        self._link, self._is_v4 = link, len(source) == 4
        self._ends = (source, source_port, target, target_port)
        addresses = source + target + source_port.to_bytes(2, "big") + target_port.to_bytes(2, "big")
        self._pseudo_base = pseudo_sum(source, target, PROTOCOL_UDP, 0)
        if self._is_v4:
            first, middle = b"\x45\0", bytes((0, 0, 0x40, 0, 64, PROTOCOL_UDP))
            self._fixed = (middle, addresses)
            self._checksum_base = ones_sum(first) + ones_sum(middle) + ones_sum(addresses[:8])
            self._start = _IPV4.size - UDP_HEADER_BYTES
        else:
            first = (6 << 28).to_bytes(4, "big")
            self._fixed = (bytes((PROTOCOL_UDP, 64)) + addresses, b"")
            self._checksum_base = 0
            self._start = _IPV6.size - UDP_HEADER_BYTES
        ethertype = ETHERTYPE_IPV4 if self._is_v4 else ETHERTYPE_IPV6
        self._prefix = ethernet.HEADER.pack(link.guest_mac, ethernet.GATEWAY_MAC, ethertype) + first

    def send(self, data: Bytes) -> None:
        """Send one datagram, in fragments if the guest's MTU asks for it."""
        udp_bytes = UDP_HEADER_BYTES + len(data)
        port = self._link.port
        ip_bytes = udp_bytes + (_IPV4_HEADER_BYTES if self._is_v4 else _IPV6_HEADER_BYTES)
        if ip_bytes > port.mtu_bytes:
            source, source_port, target, target_port = self._ends
            self._link.send_udp(source, source_port, target, target_port, bytes(data))
            return
        partial = port.offloads.checksum
        stored = fold(self._pseudo_base + udp_bytes)
        if not partial:
            ports_sum = self._ends[1] + self._ends[3]
            stored = fold(stored + ports_sum + udp_bytes + ones_sum(data)) ^ 0xFFFF or 0xFFFF
        if self._is_v4:
            header = _IPV4.pack(
                self._prefix, ip_bytes, self._fixed[0],
                fold(self._checksum_base + ip_bytes) ^ 0xFFFF, self._fixed[1], udp_bytes, stored,
            )  # fmt: skip
        else:
            header = _IPV6.pack(self._prefix, udp_bytes, self._fixed[0], udp_bytes, stored)
        frame = Frame(header + data)
        if partial:
            frame.checksum_start, frame.checksum_offset = self._start, UDP_CHECKSUM_OFFSET
        self._link.send(frame)
