# SPDX-License-Identifier: Apache-2.0
"""Where a guest's frame goes: to what is open, to one of the NAT's own services, or nowhere."""

from __future__ import annotations

import struct

from innkeeper.devices.virtio.net_frame import ETHERNET_HEADER_BYTES, Frame
from innkeeper.network import arp, icmp, ipv4, ipv6
from innkeeper.network.datagram import Datagram, Fragment
from innkeeper.network.dhcp import DhcpServer
from innkeeper.network.dhcpv6 import Dhcpv6Server
from innkeeper.network.echo import EchoTable
from innkeeper.network.ethernet import is_unicast
from innkeeper.network.link import GuestLink
from innkeeper.network.ndp import NeighborDiscovery
from innkeeper.network.reassembly import Reassembly
from innkeeper.network.subnet import UNSPECIFIED4, UNSPECIFIED6, Subnet, is_multicast
from innkeeper.network.tcp_table import TcpTable
from innkeeper.network.udp_table import UdpTable
from innkeeper.spec.internet import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ICMPV6_ECHO_REQUEST,
    PORT_DHCP_SERVER,
    PORT_DHCPV6_SERVER,
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    UDP_HEADER_BYTES,
)

# What decides whether a frame is without IP options, extensions and fragments, and where it ends.
_IPV4_FAST = struct.Struct("!12xHBBHHHBB")
_IPV6_FAST = struct.Struct("!12xHIHB")
_IPV4_TRANSPORT_START = ETHERNET_HEADER_BYTES + ipv4.HEADER_BYTES
_IPV6_TRANSPORT_START = ETHERNET_HEADER_BYTES + ipv6.HEADER_BYTES


class FrameInput:
    """Takes frames apart, and gives each part to whom it belongs."""

    def __init__(
        self,
        link: GuestLink,
        subnet: Subnet,
        tcp: TcpTable,
        udp: UdpTable,
        echo: EchoTable,
        reassembly: Reassembly,
        dhcp: DhcpServer,
        dhcpv6: Dhcpv6Server,
        neighbors: NeighborDiscovery,
    ) -> None:
        self._link, self._subnet, self._statistics = link, subnet, link.statistics
        self._tcp, self._udp, self._echo, self._reassembly = tcp, udp, echo, reassembly
        self._dhcp, self._dhcpv6, self._neighbors = dhcp, dhcpv6, neighbors

    def take(self, data: memoryview, frame: Frame) -> None:
        """What belongs to something open takes few steps; its key says that the source is right."""
        ethertype = data[12] << 8 | data[13]
        if ethertype == ETHERTYPE_IPV4 and len(data) > _IPV4_TRANSPORT_START:
            _, first, _, total_bytes, _, fragment, _, protocol = _IPV4_FAST.unpack_from(data)
            end = ETHERNET_HEADER_BYTES + total_bytes
            if first == 0x45 and not fragment & 0x3FFF and end <= len(data):
                key, dont_fragment = bytes(data[26:38]), bool(fragment & 0x4000)
                if self._known(protocol, key, data[:end], _IPV4_TRANSPORT_START, frame, dont_fragment):
                    return
        elif ethertype == ETHERTYPE_IPV6 and len(data) > _IPV6_TRANSPORT_START:
            _, _, payload_bytes, protocol = _IPV6_FAST.unpack_from(data)
            end = _IPV6_TRANSPORT_START + payload_bytes
            if data[14] >> 4 == 6 and end <= len(data):
                key = bytes(data[22:58])
                if self._known(protocol, key, data[:end], _IPV6_TRANSPORT_START, frame, True):
                    return
        self._slow_frame(ethertype, data, frame)

    def _known(
        self, protocol: int, key: bytes, data: memoryview, start: int, frame: Frame, dont_fragment: bool
    ) -> bool:
        """Take what belongs to something that is open; False if nothing with this `key` is."""
        if protocol == PROTOCOL_TCP and key in self._tcp.connections:
            self._tcp.input(key, data, start, frame.checksum_start >= 0)
            return True
        if protocol == PROTOCOL_UDP and key in self._udp.flows:
            segment_bytes = frame.gso_size_bytes if frame.gso_type else 0
            self._udp.input(key, data[start:], frame.checksum_start >= 0, segment_bytes, dont_fragment)
            return True
        return False

    def _slow_frame(self, ethertype: int, data: memoryview, frame: Frame) -> None:
        """What begins something, or is not TCP."""
        source_mac = bytes(data[6:12])
        if is_unicast(source_mac):
            self._link.guest_mac = source_mac
        packet = data[ETHERNET_HEADER_BYTES:]
        if ethertype == ETHERTYPE_ARP:
            arp.handle(self._link, self._subnet, packet)
            return
        if ethertype == ETHERTYPE_IPV4:
            parsed = ipv4.parse(packet)
        elif ethertype == ETHERTYPE_IPV6:
            parsed = ipv6.parse(packet)
        else:
            self._statistics.dropped["unknown protocol"] += 1
            return
        if parsed is None:
            self._statistics.dropped["damaged IP packet"] += 1
            return
        partial_checksum = frame.checksum_start >= 0
        if isinstance(parsed, Fragment):
            if not self._may_send(parsed.datagram):
                return
            whole = self._reassembly.add(parsed)
            if whole is None:
                return
            # Offloads are for whole datagrams.
            parsed, partial_checksum = whole, False
        self._datagram(parsed, partial_checksum, frame.gso_size_bytes if frame.gso_type else 0)

    def _may_send(self, datagram: Datagram) -> bool:
        source = datagram.source
        if source in (UNSPECIFIED4, UNSPECIFIED6) or self._subnet.may_send(source):
            return True
        self._statistics.dropped["source is not the guest's"] += 1
        return False

    def _datagram(self, datagram: Datagram, partial_checksum: bool, segment_bytes: int) -> None:
        if not self._may_send(datagram):
            return
        protocol, target = datagram.protocol, datagram.target
        if protocol == PROTOCOL_UDP and self._configures(datagram):
            return
        if protocol == PROTOCOL_ICMPV6 and len(target) == 16:
            self._icmpv6(datagram)
        elif is_multicast(target) or target == self._subnet.broadcast4:
            self._statistics.dropped["multicast"] += 1
        elif datagram.source in (UNSPECIFIED4, UNSPECIFIED6):
            self._statistics.dropped["source is not the guest's"] += 1
        elif protocol == PROTOCOL_TCP and len(datagram.payload) >= 4:
            key = datagram.source + target + bytes(datagram.payload[:4])
            self._tcp.input(key, datagram.payload, 0, partial_checksum)
        elif protocol == PROTOCOL_UDP:
            key = datagram.source + target + bytes(datagram.payload[:4])
            payload, dont_fragment = datagram.payload, datagram.dont_fragment
            self._udp.input(key, payload, partial_checksum, segment_bytes, dont_fragment)
        elif protocol == PROTOCOL_ICMP and len(target) == 4:
            if icmp.is_intact(datagram.source, target, datagram.payload):
                self._echo.input(datagram.source, target, datagram.payload)
            else:
                self._statistics.dropped["damaged ICMP message"] += 1
        else:
            self._statistics.dropped["unknown protocol"] += 1

    def _icmpv6(self, datagram: Datagram) -> None:
        source, target, message = datagram.source, datagram.target, datagram.payload
        if len(message) < 4 or not icmp.is_intact(source, target, message):
            self._statistics.dropped["damaged ICMP message"] += 1
        elif message[0] == ICMPV6_ECHO_REQUEST:
            if not is_multicast(target) and source != UNSPECIFIED6:
                self._echo.input(source, target, message)
        else:
            self._neighbors.handle(source, message, datagram.hop_limit)

    def _configures(self, datagram: Datagram) -> bool:
        """Serve DHCP; whether it was that. Its checksum does not matter: a guest gets its address."""
        if len(datagram.payload) < UDP_HEADER_BYTES:
            return False
        port = datagram.payload[2] << 8 | datagram.payload[3]
        message = datagram.payload[UDP_HEADER_BYTES:]
        if port == PORT_DHCP_SERVER and len(datagram.target) == 4:
            if self._subnet.is_gateway(datagram.target) or datagram.target == b"\xff" * 4:
                self._dhcp.handle(message)
                return True
        elif port == PORT_DHCPV6_SERVER and len(datagram.target) == 16 and is_multicast(datagram.target):
            if datagram.source != UNSPECIFIED6:
                self._dhcpv6.handle(datagram.source, message)
            return True
        return False
