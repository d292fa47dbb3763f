# SPDX-License-Identifier: Apache-2.0
"""The guest's UDP flows, each on a socket of its own, and those that come in through forwards.

Spec: RFC 768, RFC 4787 for how long a flow lives.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from typing import Protocol

from innkeeper.network.checksum import fold, ones_sum, pseudo_sum
from innkeeper.network.egress import Egress
from innkeeper.network.event_loop import Deadline, EventLoop
from innkeeper.network.icmp import Errors, Unreachable
from innkeeper.network.limits import NS_PER_S, Limits, TokenBucket
from innkeeper.network.link import GuestLink
from innkeeper.network.subnet import Subnet
from innkeeper.network.udp_flow import UNREACHABLE, UdpFlow
from innkeeper.network.udp_header import HEADER
from innkeeper.spec.internet import PORT_DNS, PROTOCOL_UDP, UDP_HEADER_BYTES

_SWEEP_S = 10
_PORT_FIRST = 49_152


class UdpService(Protocol):
    """The NAT's DNS service over UDP."""

    def query(
        self, source: bytes, source_port: int, target: bytes, target_port: int, message: bytes
    ) -> None: ...


class UdpTable:
    """Flows by the guest's and the other's address and port, the one unused for longest first."""

    def __init__(
        self,
        loop: EventLoop,
        link: GuestLink,
        subnet: Subnet,
        egress: Egress,
        limits: Limits,
        dns: UdpService,
        *,
        upload: TokenBucket | None = None,
        download: TokenBucket | None = None,
    ) -> None:
        self.loop, self.link, self.limits = loop, link, limits
        self.statistics = link.statistics
        self.errors = Errors(link, subnet)
        self.download = download
        self.flows: OrderedDict[bytes, UdpFlow] = OrderedDict()
        self.trains: list[UdpFlow] = []
        """Those with datagrams that wait for the end of the device's batch."""
        self._forwarded: dict[tuple[int, tuple[str, int]], UdpFlow] = {}
        """Those of forwards, by the forward's socket and the client."""
        self._subnet, self._egress, self._dns, self._upload = subnet, egress, dns, upload
        self._sweep_deadline = Deadline(loop, self._sweep)

    def input(
        self,
        key: bytes,
        payload: memoryview,
        partial_checksum: bool,
        segment_bytes: int,
        dont_fragment: bool,
    ) -> None:
        """A UDP datagram of the guest, `payload` from its header on; `key` is made of addresses and ports.

        `segment_bytes` > 0: several datagrams, of so much payload each.
        """
        if len(payload) < UDP_HEADER_BYTES:
            self.statistics.dropped["damaged UDP datagram"] += 1
            return
        source_port, port, length, checksum = HEADER.unpack_from(payload)
        if not UDP_HEADER_BYTES <= length <= len(payload) or not source_port or not port:
            self.statistics.dropped["damaged UDP datagram"] += 1
            return
        payload = payload[:length]
        if not partial_checksum and not _is_intact(key, payload, checksum):
            self.statistics.dropped["damaged UDP datagram"] += 1
            return
        if self._upload is not None and not self._upload.take(length):
            self.statistics.dropped["rate limit"] += 1
            return
        data = payload[UDP_HEADER_BYTES:]
        flow = self.flows.get(key)
        if flow is not None:
            self.flows.move_to_end(key)
        else:
            half = (len(key) - 4) // 2
            source, target = key[:half], key[half:-4]
            if port == PORT_DNS and self._subnet.is_dns(target):
                self._dns.query(source, source_port, target, port, bytes(data))
                return
            flow = self._open(key, source, target, port, bytes(payload[:8]))
        if flow is not None:
            flow.send_to_host(data, segment_bytes, dont_fragment)

    def finish_batch(self) -> None:
        """Send what waits: the guest's buffers are only ours until now."""
        for flow in self.trains:
            flow.flush()
        self.trains.clear()

    def from_forward(
        self,
        host: socket.socket,
        client: tuple[str, int],
        source: bytes,
        guest_port: int,
        data: bytes,
    ) -> None:
        """A datagram that came to a forwarded port from `client`, for the guest as if from `source`."""
        flow = self._forwarded.get((host.fileno(), client))
        if flow is None:
            key = self._forward_key(source, client[1], guest_port)
            if key is None:
                self.statistics.dropped["no port for a UDP flow"] += 1
                return
            flow = self._forwarded[host.fileno(), client] = UdpFlow(self, key, host, None, client)
            self._add(flow)
        else:
            self.flows.move_to_end(flow.key)
        flow.send_to_guest(data)

    def _forward_key(self, source: bytes, source_port: int, guest_port: int) -> bytes | None:
        """A free key for a client at `source`, by its own port if no other client has taken that."""
        ends = self._subnet.guest4 + source + guest_port.to_bytes(2, "big")
        for port in (source_port, *range(_PORT_FIRST, _PORT_FIRST + self.limits.udp_flows)):
            key: bytes = ends + port.to_bytes(2, "big")
            if key not in self.flows:
                return key
        return None

    def close_forward(self, host: socket.socket) -> None:
        """The forwarded port `host` is closed."""
        for flow in [flow for flow in self.flows.values() if flow.uses(host)]:
            self._remove(flow)

    def apply_policy(self) -> None:
        """End what the policy of now forbids."""
        for flow in list(self.flows.values()):
            if flow.destination is not None and not self._egress.still_allowed(flow.destination):
                self._remove(flow)

    def close(self) -> None:
        for flow in list(self.flows.values()):
            self._remove(flow)
        self._sweep_deadline.close()

    def _open(self, key: bytes, source: bytes, target: bytes, port: int, head: bytes) -> UdpFlow | None:
        """A flow to where policy and the host let the guest send."""
        if self._subnet.contains(target) and not self._subnet.is_gateway(target):
            reason = Unreachable.PORT if self._subnet.is_dns(target) else Unreachable.HOST
            self.errors.unreachable(reason, source, target, PROTOCOL_UDP, head)
            return None
        destination = self._egress.decide("udp", target, port)
        if destination is None:
            self.statistics.refused += 1
            self.errors.unreachable(Unreachable.PROHIBITED, source, target, PROTOCOL_UDP, head)
            return None
        try:
            host = socket.socket(destination.family, socket.SOCK_DGRAM)
        except OSError:
            self.statistics.dropped["no socket for a UDP flow"] += 1
            return None
        host.setblocking(False)
        try:
            host.connect((destination.host_address, destination.port))
        except OSError as error:
            host.close()
            reason = UNREACHABLE.get(error.errno or 0, Unreachable.HOST)
            self.errors.unreachable(reason, source, target, PROTOCOL_UDP, head)
            return None
        flow = UdpFlow(self, key, host, destination, None)
        self._add(flow)
        flow.open()
        return flow

    def _add(self, flow: UdpFlow) -> None:
        if len(self.flows) >= self.limits.udp_flows:
            self._remove(next(iter(self.flows.values())))
        self.flows[flow.key] = flow
        self.statistics.udp_opened += 1
        self.statistics.udp_open = len(self.flows)
        if not self._sweep_deadline.pending:
            self._sweep_deadline.set(self.loop.clock.now_ns() + _SWEEP_S * NS_PER_S)

    def _remove(self, flow: UdpFlow) -> None:
        del self.flows[flow.key]
        if flow.client is not None:
            self._forwarded.pop(flow.client, None)
        flow.close()
        self.statistics.udp_open = len(self.flows)

    def _sweep(self) -> None:
        now_ns = self.loop.clock.now_ns()
        for flow in list(self.flows.values()):
            idle_max_s = self.limits.udp_idle_s if flow.answered else self.limits.udp_unanswered_s
            if now_ns - flow.used_ns >= idle_max_s * NS_PER_S:
                self._remove(flow)
        if self.flows:
            self._sweep_deadline.set(now_ns + _SWEEP_S * NS_PER_S)


def _is_intact(key: bytes, payload: memoryview, checksum: int) -> bool:
    """Whether the checksum is right; `key` holds the addresses."""
    half = (len(key) - 4) // 2
    if not checksum:
        # None was made, which IPv6 does not allow (RFC 8200 8.1).
        return half == 4
    pseudo = pseudo_sum(key[:half], key[half:-4], PROTOCOL_UDP, len(payload))
    return fold(pseudo + ones_sum(payload)) == 0xFFFF
