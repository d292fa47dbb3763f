# SPDX-License-Identifier: Apache-2.0
"""User-mode NAT: a guest's network adapter on a host where nobody is root.

The guest's TCP and UDP end here and go on over the host's sockets. Everything runs on the machine's I/O loop.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence

from innkeeper.devices.virtio.net_frame import ETHERNET_HEADER_BYTES, Frame, GuestPort
from innkeeper.host.descriptors import descriptors_allowed
from innkeeper.network import arp, icmp, ipv4, ipv6
from innkeeper.network.datagram import Datagram, Fragment
from innkeeper.network.dhcp import DhcpServer, HostConfiguration
from innkeeper.network.dhcpv6 import Dhcpv6Server
from innkeeper.network.dns_forwarder import DnsForwarder
from innkeeper.network.echo import EchoTable
from innkeeper.network.egress import Egress
from innkeeper.network.ethernet import is_unicast
from innkeeper.network.event_loop import EventLoop
from innkeeper.network.forwards import Forward, Forwards
from innkeeper.network.host_resolver import HostResolver
from innkeeper.network.limits import Limits, TokenBucket
from innkeeper.network.link import GuestLink
from innkeeper.network.ndp import NeighborDiscovery
from innkeeper.network.policy import Policy
from innkeeper.network.reassembly import Reassembly
from innkeeper.network.refusals import Refusal
from innkeeper.network.statistics import Statistics
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

# What decides whether a frame is TCP without IP options, extensions or fragments, and where it ends.
_IPV4_FAST = struct.Struct("!12xHBBHHHBB")
_IPV6_FAST = struct.Struct("!12xHIHB")
_IPV4_TCP_START = ETHERNET_HEADER_BYTES + ipv4.HEADER_BYTES
_IPV6_TCP_START = ETHERNET_HEADER_BYTES + ipv6.HEADER_BYTES
_BURST_S = 0.25
_BURST_BYTES_MIN = 256 << 10


class UserNet:
    """A `NetBackend`. `guest_mac` is learned from the guest's frames where it is not known before.

    `siblings` maps plain names of other VMs to packed addresses. `on_refused` hears of connections that
    policy refused, some of them when there are many.
    """

    def __init__(
        self,
        loop: EventLoop,
        *,
        guest_mac: bytes | None = None,
        subnet: Subnet | None = None,
        policy: Policy | None = None,
        limits: Limits | None = None,
        host_name: str = "",
        siblings: Mapping[str, tuple[bytes, ...]] | None = None,
        resolver: HostResolver | None = None,
        on_refused: Callable[[Refusal], None] | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.subnet, self.limits = subnet or Subnet(), (limits or Limits()).within(descriptors_allowed())
        self.statistics = Statistics()
        self._loop, self._guest_mac, self._host_name = loop, guest_mac, host_name
        self._siblings = siblings if siblings is not None else {}
        self._resolver = resolver or HostResolver()
        self._random_bytes = random_bytes
        self.egress = Egress(policy or Policy(), self.subnet, loop.clock, self.limits, on_refused)

    def attach(self, port: GuestPort) -> None:
        """The device is there: make what needs it."""
        loop, subnet, limits, egress = self._loop, self.subnet, self.limits, self.egress
        self._link = link = GuestLink(port, limits, self.statistics, self._guest_mac)
        upload = _bucket(loop, limits.upload_bytes_per_s)
        download = _bucket(loop, limits.download_bytes_per_s)
        self._dns = DnsForwarder(
            loop, link, egress, limits, self._resolver, self._siblings, random_bytes=self._random_bytes
        )
        self._tcp = TcpTable(
            loop, link, subnet, egress, limits, self._dns,
            upload=upload, download=download, random_bytes=self._random_bytes,
        )  # fmt: skip
        self._udp = UdpTable(loop, link, subnet, egress, limits, self._dns, upload=upload, download=download)
        self._echo = EchoTable(loop, link, subnet, egress, limits)
        self._reassembly = Reassembly(loop.clock, limits)
        self._forwards = Forwards(loop, subnet, self._tcp, self._udp)
        configuration = HostConfiguration(self._host_name, self._resolver.search, port.mtu_bytes)
        self._dhcp = DhcpServer(link, subnet, configuration)
        self._dhcpv6 = Dhcpv6Server(link, subnet, configuration)
        self._neighbors = NeighborDiscovery(link, subnet, configuration)

    # The backend of the device

    def send(self, frames: Sequence[Frame]) -> None:
        """Frames of the guest, whose data is only valid during the call."""
        statistics = self.statistics
        for frame in frames:
            data = frame.data
            statistics.sent_frames += 1
            statistics.sent_bytes += len(data)
            if len(data) <= ETHERNET_HEADER_BYTES:
                statistics.dropped["short frame"] += 1
            else:
                self._frame(memoryview(data), frame)
        self._tcp.finish_batch()

    def receive_ready(self) -> None:
        """The guest has buffers again."""
        self._link.receive_ready()
        self._tcp.finish_batch()

    # What the user may change

    @property
    def policy(self) -> Policy:
        return self.egress.policy

    def set_policy(self, policy: Policy) -> None:
        """From now on `policy` holds, for what is open too."""
        self.egress.policy = policy
        self._tcp.apply_policy()
        self._udp.apply_policy()
        self._echo.apply_policy()

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The last attempts that policy refused, oldest first."""
        return tuple(self.egress.refusals.entries)

    @property
    def buffered_bytes(self) -> int:
        """What all TCP connections together hold, in both directions."""
        return self._tcp.budget.used_bytes

    @property
    def reassembling(self) -> int:
        """Datagrams of which some fragments have come."""
        return len(self._reassembly)

    @property
    def forwards(self) -> tuple[Forward, ...]:
        return self._forwards.list()

    def add_forward(self, forward: Forward) -> Forward:
        """Open a port of the host; the forward with the port it has got. Raises HostError, ConfigError."""
        return self._forwards.add(forward)

    def remove_forward(self, forward: Forward) -> None:
        """Close a port of the host. Raises ConfigError if it is none of ours."""
        self._forwards.remove(forward)

    def drop_flows(self) -> None:
        """End everything that is open, for a guest that is another now: after a restore, in a fork.

        Forwards stay.
        """
        self._tcp.close()
        self._udp.close()
        self._echo.close()
        self._dns.close()

    def close(self) -> None:
        """Free every socket. Nothing may be called afterwards."""
        self._forwards.close()
        self.drop_flows()

    # Frames

    def _frame(self, data: memoryview, frame: Frame) -> None:
        ethertype = data[12] << 8 | data[13]
        if ethertype == ETHERTYPE_IPV4 and len(data) > _IPV4_TCP_START:
            _, first, _, total_bytes, _, fragment, _, protocol = _IPV4_FAST.unpack_from(data)
            end = ETHERNET_HEADER_BYTES + total_bytes
            if first == 0x45 and protocol == PROTOCOL_TCP and not fragment & 0x3FFF and end <= len(data):
                connection_key = bytes(data[26:38])
                if connection_key in self._tcp.connections:
                    self._tcp.input(connection_key, data[:end], _IPV4_TCP_START, frame.checksum_start >= 0)
                    return
        elif ethertype == ETHERTYPE_IPV6 and len(data) > _IPV6_TCP_START:
            _, _, payload_bytes, protocol = _IPV6_FAST.unpack_from(data)
            end = _IPV6_TCP_START + payload_bytes
            if protocol == PROTOCOL_TCP and data[14] >> 4 == 6 and end <= len(data):
                connection_key = bytes(data[22:58])
                if connection_key in self._tcp.connections:
                    self._tcp.input(connection_key, data[:end], _IPV6_TCP_START, frame.checksum_start >= 0)
                    return
        self._slow_frame(ethertype, data, frame)

    def _slow_frame(self, ethertype: int, data: memoryview, frame: Frame) -> None:
        """What begins something, or is not TCP."""
        source_mac = bytes(data[6:12])
        if is_unicast(source_mac):
            self._link.guest_mac = source_mac
        packet = data[ETHERNET_HEADER_BYTES:]
        if ethertype == ETHERTYPE_ARP:
            arp.handle(self._link, self.subnet, packet)
            return
        if ethertype == ETHERTYPE_IPV4:
            parsed = ipv4.parse(packet)
        elif ethertype == ETHERTYPE_IPV6:
            parsed = ipv6.parse(packet)
        else:
            self.statistics.dropped["unknown protocol"] += 1
            return
        if parsed is None:
            self.statistics.dropped["damaged IP packet"] += 1
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
        if source in (UNSPECIFIED4, UNSPECIFIED6) or self.subnet.may_send(source):
            return True
        self.statistics.dropped["source is not the guest's"] += 1
        return False

    def _datagram(self, datagram: Datagram, partial_checksum: bool, segment_bytes: int) -> None:
        if not self._may_send(datagram):
            return
        protocol, target = datagram.protocol, datagram.target
        if protocol == PROTOCOL_UDP and self._configures(datagram):
            return
        if protocol == PROTOCOL_ICMPV6 and len(target) == 16:
            self._icmpv6(datagram)
        elif is_multicast(target) or target == self.subnet.broadcast4:
            self.statistics.dropped["multicast"] += 1
        elif datagram.source in (UNSPECIFIED4, UNSPECIFIED6):
            self.statistics.dropped["source is not the guest's"] += 1
        elif protocol == PROTOCOL_TCP and len(datagram.payload) >= 4:
            key = datagram.source + target + bytes(datagram.payload[:4])
            self._tcp.input(key, datagram.payload, 0, partial_checksum)
        elif protocol == PROTOCOL_UDP:
            self._udp.input(datagram, partial_checksum, segment_bytes)
        elif protocol == PROTOCOL_ICMP and len(target) == 4:
            if icmp.is_intact(datagram.source, target, datagram.payload):
                self._echo.input(datagram.source, target, datagram.payload)
            else:
                self.statistics.dropped["damaged ICMP message"] += 1
        else:
            self.statistics.dropped["unknown protocol"] += 1

    def _icmpv6(self, datagram: Datagram) -> None:
        source, target, message = datagram.source, datagram.target, datagram.payload
        if len(message) < 4 or not icmp.is_intact(source, target, message):
            self.statistics.dropped["damaged ICMP message"] += 1
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
            if self.subnet.is_gateway(datagram.target) or datagram.target == b"\xff" * 4:
                self._dhcp.handle(message)
                return True
        elif port == PORT_DHCPV6_SERVER and len(datagram.target) == 16 and is_multicast(datagram.target):
            if datagram.source != UNSPECIFIED6:
                self._dhcpv6.handle(datagram.source, message)
            return True
        return False


def _bucket(loop: EventLoop, bytes_per_s: int | None) -> TokenBucket | None:
    if bytes_per_s is None:
        return None
    return TokenBucket(loop.clock, bytes_per_s, max(_BURST_BYTES_MIN, int(bytes_per_s * _BURST_S)))
