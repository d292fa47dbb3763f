# SPDX-License-Identifier: Apache-2.0
"""How TCP connections begin: the guest asks and the host connects, or the host asks and the guest answers.

A guest is told that it is connected only when the host is, and hears of a refusal what the host heard.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from innkeeper.network.egress import Destination, Egress
from innkeeper.network.icmp import Errors, Unreachable
from innkeeper.network.limits import NS_PER_S, TokenBucket
from innkeeper.network.subnet import Subnet
from innkeeper.network.tcp_connection import State, TcpConnection
from innkeeper.spec.internet import PORT_DNS, PROTOCOL_TCP, TCP_SYN

if TYPE_CHECKING:
    from innkeeper.network.tcp_table import TcpTable

_PORT_TRIES = 32
_UNREACHABLE = {
    errno.ENETUNREACH: Unreachable.NET,
    errno.EHOSTUNREACH: Unreachable.HOST,
    errno.ETIMEDOUT: Unreachable.HOST,
    errno.EHOSTDOWN: Unreachable.HOST,
    errno.EACCES: Unreachable.PROHIBITED,
    errno.EPERM: Unreachable.PROHIBITED,
}
"""What the guest is told of a failed connection; everything else is a reset."""


class StreamService(Protocol):
    """A service of the NAT that the guest speaks to over TCP: it is given our end of a pair of sockets."""

    def serve(self, stream: socket.socket) -> bool:
        """Take `stream` over; False if that is one too many."""
        ...


class TcpOpener:
    """Opens connections of `table`."""

    def __init__(
        self,
        table: TcpTable,
        subnet: Subnet,
        egress: Egress,
        dns: StreamService,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._table, self._subnet, self._egress, self._dns = table, subnet, egress, dns
        self._random_bytes = random_bytes
        self._errors = Errors(table.link, subnet)
        limits = table.limits
        self._syn_rate = TokenBucket(table.loop.clock, limits.tcp_syn_per_s, limits.tcp_syn_burst)

    def open(self, key: bytes, sequence: int, options: memoryview) -> None:
        """The guest's SYN: ask the host for the connection."""
        if not self._syn_rate.take(1):
            self._table.statistics.dropped["too many SYNs a second"] += 1
            return
        if not self._table.has_room():
            self._table.statistics.dropped["too many TCP connections"] += 1
            self._table.send_reset(key, sequence, 0, TCP_SYN, 0)
            return
        half = (len(key) - 4) // 2
        target, port = key[half:-4], int.from_bytes(key[-2:], "big")
        if self._subnet.is_dns(target) and port == PORT_DNS:
            self._open_service(key, sequence, options)
        elif self._subnet.contains(target) and not self._subnet.is_gateway(target):
            self._refuse(key, sequence, errno.EHOSTUNREACH)
        else:
            destination = self._egress.decide("tcp", target, port)
            if destination is None:
                self._table.statistics.refused += 1
                self._refuse(key, sequence, errno.EACCES)
            else:
                self._connect(key, sequence, options, destination)

    def _connect(self, key: bytes, sequence: int, options: memoryview, destination: Destination) -> None:
        try:
            host = socket.socket(destination.family, socket.SOCK_STREAM)
        except OSError as error:
            self._refuse(key, sequence, error.errno or 0)
            return
        host.setblocking(False)
        host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        where = (destination.host_address, destination.port)
        code = host.connect_ex(where)
        if code == errno.EINPROGRESS:
            # A server on this host has answered by now, and asking again says so.
            code = host.connect_ex(where)
        if code not in (0, errno.EISCONN, errno.EINPROGRESS, errno.EALREADY):
            host.close()
            self._refuse(key, sequence, code)
            return
        connection = self._table.add(key, host, State.CONNECTING, destination)
        connection.accept_syn(sequence, options)
        if code in (0, errno.EISCONN):
            connection.host_connected()
            return
        connection.deadline.set(self._table.loop.clock.now_ns() + self._table.limits.tcp_connect_s * NS_PER_S)
        connection.want_write(True)

    def connected(self, connection: TcpConnection) -> None:
        """The host's connection is there, or has failed."""
        code = connection.host.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.fail(connection, code)
        else:
            connection.host_connected()

    def _open_service(self, key: bytes, sequence: int, options: memoryview) -> None:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._refuse(key, sequence, error.errno or 0)
            return
        ours.setblocking(False)
        theirs.setblocking(False)
        if not self._dns.serve(theirs):
            ours.close()
            theirs.close()
            self._refuse(key, sequence, errno.ECONNREFUSED)
            return
        connection = self._table.add(key, ours, State.CONNECTING, None)
        connection.accept_syn(sequence, options)
        connection.host_connected()

    def fail(self, connection: TcpConnection, code: int) -> None:
        """The host could not connect."""
        connection.close(abort=True)
        self._refuse(connection.key, connection.receiver.next - 1, code)

    def _refuse(self, key: bytes, sequence: int, code: int) -> None:
        """Answer a SYN with what the error `code` is in the guest's protocols."""
        reason = _UNREACHABLE.get(code)
        if reason is None:
            self._table.send_reset(key, sequence, 0, TCP_SYN, 0)
            return
        half = (len(key) - 4) // 2
        head = key[-4:] + (sequence & 0xFFFF_FFFF).to_bytes(4, "big")
        self._errors.unreachable(reason, key[:half], key[half:-4], PROTOCOL_TCP, head)

    def open_to_guest(self, host: socket.socket, source: bytes, source_port: int, guest_port: int) -> bool:
        """Connect the accepted, non-blocking socket `host` to a port of the guest, as if from `source`.

        False if there are too many; the socket is then the caller's.
        """
        if not self._table.has_room():
            return False
        ends = self._subnet.guest4 + source + guest_port.to_bytes(2, "big")
        key = ends + source_port.to_bytes(2, "big")
        for _ in range(_PORT_TRIES):
            if key not in self._table.connections:
                host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._table.add(key, host, State.SYN_SENT, None).open_to_guest()
                return True
            port = 49152 | int.from_bytes(self._random_bytes(2), "big")
            key = ends + port.to_bytes(2, "big")
        return False
