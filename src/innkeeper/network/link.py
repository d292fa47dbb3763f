# SPDX-License-Identifier: Apache-2.0
"""The NAT's end of the cable: gives frames to the guest, and waits when the guest has no buffers."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from innkeeper.devices.virtio.net_frame import Frame, GuestPort
from innkeeper.network import ethernet, ipv4, ipv6
from innkeeper.network.checksum import fold, ones_sum, pseudo_sum
from innkeeper.network.limits import Limits
from innkeeper.network.statistics import Statistics
from innkeeper.network.subnet import is_multicast
from innkeeper.spec.internet import (
    ETHERNET_BROADCAST,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    PROTOCOL_UDP,
)


class Resumed(Protocol):
    """Who is told that the guest has buffers again."""

    def resume(self) -> None: ...


class GuestLink:
    """One guest's cable. `guest_mac` is learned from what the guest sends, and may be known before.

    The device has read a frame's data when `send` returns, or the link has kept a copy.
    """

    def __init__(
        self, port: GuestPort, limits: Limits, statistics: Statistics, guest_mac: bytes | None
    ) -> None:
        self.port = port
        self.guest_mac = guest_mac or ETHERNET_BROADCAST
        self.blocked = False
        self.statistics = statistics
        self._backlog_frames_max = limits.backlog_frames
        self._backlog: deque[Frame] = deque()
        self._waiting: dict[Resumed, None] = {}
        self._identification = 0

    def offer(self, frame: Frame) -> bool:
        """Give `frame` to the guest if it takes one now; False: nothing is kept."""
        if self.blocked:
            return False
        if not self.port.receive(frame):
            self.blocked = True
            return False
        self.statistics.received_frames += 1
        self.statistics.received_bytes += len(frame.data)
        return True

    def wait(self, who: Resumed) -> None:
        """Call `who.resume` once when the guest has buffers again."""
        self._waiting[who] = None

    def forget(self, who: Resumed) -> None:
        self._waiting.pop(who, None)

    def send(self, frame: Frame) -> None:
        """Give `frame` to the guest now, or as soon as it has buffers; drop it if too many wait."""
        if self._backlog or not self.offer(frame):
            if len(self._backlog) >= self._backlog_frames_max:
                self.statistics.dropped["guest has no buffers"] += 1
                return
            frame.data = bytes(frame.data)
            self._backlog.append(frame)

    def receive_ready(self) -> None:
        """The guest has buffers again: what waited goes first, then each who waits gets a turn."""
        self.blocked = False
        while self._backlog:
            if not self.offer(self._backlog[0]):
                return
            self._backlog.popleft()
        for who in list(self._waiting):
            if self.blocked:
                return
            if who in self._waiting:
                del self._waiting[who]
                who.resume()

    def send_ethernet(self, ethertype: int, payload: bytes, target_mac: bytes | None = None) -> None:
        """Send a frame of our own making."""
        header = ethernet.HEADER.pack(target_mac or self.guest_mac, ethernet.GATEWAY_MAC, ethertype)
        self.send(Frame(header + payload, checksum_valid=True))

    def send_ip(
        self, source: bytes, target: bytes, protocol: int, payload: bytes, *, hop_limit: int = 64
    ) -> None:
        """Send a datagram whose own checksum is in place, in fragments if the guest's MTU asks for it."""
        is_v4 = len(source) == 4
        ethertype = ETHERTYPE_IPV4 if is_v4 else ETHERTYPE_IPV6
        target_mac = ethernet.multicast_mac(target) if not is_v4 and is_multicast(target) else None
        header_bytes = ipv4.HEADER_BYTES if is_v4 else ipv6.HEADER_BYTES
        if header_bytes + len(payload) > self.port.mtu_bytes:
            self._identification = (self._identification + 1) & 0xFFFF
            cut = ipv4.fragments if is_v4 else ipv6.fragments
            for packet in cut(
                source, target, protocol, payload, self.port.mtu_bytes, self._identification or 1
            ):
                self.send_ethernet(ethertype, packet, target_mac)
        elif is_v4:
            self.send_ethernet(ethertype, ipv4.header(source, target, protocol, len(payload)) + payload)
        else:
            header = ipv6.header(source, target, protocol, len(payload), hop_limit=hop_limit)
            self.send_ethernet(ethertype, header + payload, target_mac)

    def send_udp(self, source: bytes, source_port: int, target: bytes, target_port: int, data: bytes) -> None:
        """Send a UDP datagram. Spec: RFC 768."""
        total_bytes = 8 + len(data)
        ports = source_port.to_bytes(2, "big") + target_port.to_bytes(2, "big")
        length = total_bytes.to_bytes(2, "big")
        pseudo = pseudo_sum(source, target, PROTOCOL_UDP, total_bytes)
        total = pseudo + ones_sum(ports) + total_bytes + ones_sum(data)
        # A checksum of zero says that there is none.
        stored = fold(total) ^ 0xFFFF or 0xFFFF
        self.send_ip(source, target, PROTOCOL_UDP, ports + length + stored.to_bytes(2, "big") + data)
