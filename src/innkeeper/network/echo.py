# SPDX-License-Identifier: Apache-2.0
"""Pings: ours are answered here, those to other hosts go through the host's unprivileged ping sockets.

Spec: RFC 792 "Echo or Echo Reply Message", RFC 4443 4; for the sockets Linux's icmp(7),
`net.ipv4.ping_group_range`, which also serves IPv6.
"""

from __future__ import annotations

import socket
import struct
from collections import OrderedDict

from innkeeper.network import icmp
from innkeeper.network.egress import Destination, Egress
from innkeeper.network.event_loop import Deadline, EventLoop
from innkeeper.network.icmp import Errors, Unreachable
from innkeeper.network.limits import NS_PER_S, Limits
from innkeeper.network.link import GuestLink
from innkeeper.network.subnet import Subnet
from innkeeper.network.udp_flow import UNREACHABLE
from innkeeper.spec.internet import (
    ICMP_ECHO_REPLY,
    ICMP_ECHO_REQUEST,
    ICMPV6_ECHO_REPLY,
    ICMPV6_ECHO_REQUEST,
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
)

_ECHO = struct.Struct("!BBHHH")
_MESSAGE_BYTES_MAX = 65535
_READS_MAX = 16
_SWEEP_S = 10
_Key = tuple[bytes, bytes, int]


class _Flow:
    """Pings of one guest program to one host. The host's socket replaces the guest's identifier."""

    def __init__(self, table: EchoTable, key: _Key, host: socket.socket, destination: Destination) -> None:
        self.key, self.destination, self._table, self._host = key, destination, table, host
        self.used_ns = table.loop.clock.now_ns()
        table.loop.add_reader(host.fileno(), self._readable)

    def request(self, message: memoryview) -> None:
        self.used_ns = self._table.loop.clock.now_ns()
        try:
            self._host.send(message)
        except BlockingIOError:
            pass
        except OSError as error:
            self._table.failed(self.key, error, bytes(message[:8]))

    def close(self) -> None:
        self._table.loop.remove_reader(self._host.fileno())
        self._host.close()

    def _readable(self) -> None:
        source, target, identifier = self.key
        for _ in range(_READS_MAX):
            try:
                reply = self._host.recv(_MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError as error:
                self._table.failed(self.key, error, _request_head(source, identifier))
                return
            if len(reply) >= _ECHO.size and reply[0] in (ICMP_ECHO_REPLY, ICMPV6_ECHO_REPLY):
                header = bytes((reply[0], 0, 0, 0)) + identifier.to_bytes(2, "big")
                icmp.send(self._table.link, target, source, header + reply[6:])


class EchoTable:
    """Pings under way, by the guest's address, the other's, and the identifier."""

    def __init__(
        self, loop: EventLoop, link: GuestLink, subnet: Subnet, egress: Egress, limits: Limits
    ) -> None:
        self.loop, self.link = loop, link
        self._subnet, self._egress, self._limits = subnet, egress, limits
        self._errors = Errors(link, subnet)
        self._flows: OrderedDict[_Key, _Flow] = OrderedDict()
        self._sweep_deadline = Deadline(loop, self._sweep)

    def input(self, source: bytes, target: bytes, message: memoryview) -> None:
        """An echo request of the guest, its checksum verified."""
        if len(message) < _ECHO.size:
            return
        kind, code, _, identifier, _ = _ECHO.unpack_from(message)
        if code or kind != (ICMP_ECHO_REQUEST if len(source) == 4 else ICMPV6_ECHO_REQUEST):
            return
        if self._subnet.is_ours(target):
            reply = ICMP_ECHO_REPLY if len(source) == 4 else ICMPV6_ECHO_REPLY
            icmp.send(self.link, target, source, bytes((reply, 0, 0, 0)) + bytes(message[4:]))
            return
        key = (source, target, identifier)
        flow = self._flows.get(key) or self._open(key, bytes(message[:8]))
        if flow is not None:
            self._flows.move_to_end(key)
            flow.request(message)

    def failed(self, key: _Key, error: OSError, head: bytes) -> None:
        """Tell the guest that its ping does not arrive."""
        self._refuse(key, UNREACHABLE.get(error.errno or 0, Unreachable.HOST), head)

    def apply_policy(self) -> None:
        """End what the policy of now forbids."""
        for flow in list(self._flows.values()):
            if not self._egress.still_allowed(flow.destination):
                self._remove(flow)

    def close(self) -> None:
        for flow in list(self._flows.values()):
            self._remove(flow)
        self._sweep_deadline.close()

    def _open(self, key: _Key, head: bytes) -> _Flow | None:
        source, target, _ = key
        if self._subnet.contains(target):
            self._refuse(key, Unreachable.HOST, head)
            return None
        destination = self._egress.decide("icmp", target, 0)
        if destination is None:
            self.link.statistics.refused += 1
            self._refuse(key, Unreachable.PROHIBITED, head)
            return None
        protocol = socket.IPPROTO_ICMP if len(source) == 4 else socket.IPPROTO_ICMPV6
        try:
            host = socket.socket(destination.family, socket.SOCK_DGRAM, protocol)
        except OSError:
            # The host does not let us ping.
            self._refuse(key, Unreachable.HOST, head)
            return None
        host.setblocking(False)
        try:
            host.connect((destination.host_address, 0))
        except OSError as error:
            host.close()
            self.failed(key, error, head)
            return None
        if len(self._flows) >= self._limits.echo_flows:
            self._remove(next(iter(self._flows.values())))
        flow = self._flows[key] = _Flow(self, key, host, destination)
        self.link.statistics.echo_open = len(self._flows)
        if not self._sweep_deadline.pending:
            self._sweep_deadline.set(self.loop.clock.now_ns() + _SWEEP_S * NS_PER_S)
        return flow

    def _refuse(self, key: _Key, reason: Unreachable, head: bytes) -> None:
        source, target, _ = key
        protocol = PROTOCOL_ICMP if len(source) == 4 else PROTOCOL_ICMPV6
        self._errors.unreachable(reason, source, target, protocol, head)

    def _remove(self, flow: _Flow) -> None:
        del self._flows[flow.key]
        flow.close()
        self.link.statistics.echo_open = len(self._flows)

    def _sweep(self) -> None:
        now_ns = self.loop.clock.now_ns()
        for flow in list(self._flows.values()):
            if now_ns - flow.used_ns >= self._limits.echo_idle_s * NS_PER_S:
                self._remove(flow)
        if self._flows:
            self._sweep_deadline.set(now_ns + _SWEEP_S * NS_PER_S)


def _request_head(source: bytes, identifier: int) -> bytes:
    kind = ICMP_ECHO_REQUEST if len(source) == 4 else ICMPV6_ECHO_REQUEST
    return _ECHO.pack(kind, 0, 0, identifier, 0)
