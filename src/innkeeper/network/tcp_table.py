# SPDX-License-Identifier: Apache-2.0
"""All TCP connections of a guest: whose a segment is, how they begin, and how many there may be."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Protocol

from innkeeper.devices.virtio.net_frame import Frame
from innkeeper.network.checksum import fold, ones_sum, pseudo_sum
from innkeeper.network.egress import Destination, Egress
from innkeeper.network.event_loop import Deadline, EventLoop
from innkeeper.network.icmp import Errors, Unreachable
from innkeeper.network.limits import NS_PER_S, BufferBudget, Limits, TokenBucket
from innkeeper.network.link import GuestLink
from innkeeper.network.subnet import Subnet
from innkeeper.network.tcp_buffers import ChunkPool
from innkeeper.network.tcp_connection import State, TcpConnection
from innkeeper.network.tcp_header import HEADER, HeaderWriter, SynOptions, parse_syn_options
from innkeeper.spec.internet import (
    PORT_DNS,
    PROTOCOL_TCP,
    TCP_ACK,
    TCP_FIN,
    TCP_HEADER_BYTES,
    TCP_RST,
    TCP_SYN,
)

_SWEEP_S = 30
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


class TcpTable:
    """Connections by the guest's and the other's address and port, as these stand in the guest's packets."""

    def __init__(
        self,
        loop: EventLoop,
        link: GuestLink,
        subnet: Subnet,
        egress: Egress,
        limits: Limits,
        dns: StreamService,
        *,
        upload: TokenBucket | None = None,
        download: TokenBucket | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.loop, self.link, self.limits = loop, link, limits
        self.statistics = link.statistics
        self.upload, self.download = upload, download
        self.budget = BufferBudget(limits.tcp_buffer_bytes)
        self.pool = ChunkPool(self.budget)
        self.connections: dict[bytes, TcpConnection] = {}
        self.dirty: list[TcpConnection] = []
        """Those to be looked at when the guest's batch of frames is through."""
        self.starved: dict[TcpConnection, None] = {}
        """Those that wait for buffers."""
        self._subnet, self._egress, self._dns, self._random_bytes = subnet, egress, dns, random_bytes
        self._errors = Errors(link, subnet)
        self._opening: set[TcpConnection] = set()
        self._time_waits: dict[TcpConnection, None] = {}
        self._syn_rate = TokenBucket(loop.clock, limits.tcp_syn_per_s, limits.tcp_syn_burst)
        self._upload_waits: dict[TcpConnection, None] = {}
        self._download_waits: dict[TcpConnection, None] = {}
        self._rates_deadline = Deadline(loop, self._rates_ready)
        self._sweep_deadline = Deadline(loop, self._sweep)

    # Segments of the guest

    def input(self, key: bytes, data: memoryview, start: int, partial_checksum: bool) -> None:
        """The segment from `start` to the end of `data`; `key` is made of its addresses and ports."""
        size_bytes = len(data) - start
        if size_bytes < TCP_HEADER_BYTES:
            self.statistics.dropped["damaged TCP segment"] += 1
            return
        _, _, sequence, ack, offset_flags, window, _, _ = HEADER.unpack_from(data, start)
        header_bytes = offset_flags >> 12 << 2
        if not TCP_HEADER_BYTES <= header_bytes <= size_bytes or not (
            partial_checksum or _is_intact(key, data[start:])
        ):
            self.statistics.dropped["damaged TCP segment"] += 1
            return
        flags = offset_flags & 0x3F
        payload = data[start + header_bytes :]
        options = data[start + TCP_HEADER_BYTES : start + header_bytes]
        connection = self.connections.get(key)
        if (
            connection is not None
            and connection.state is State.TIME_WAIT
            and flags & (TCP_SYN | TCP_ACK) == TCP_SYN
        ):
            # Spec: RFC 9293 3.6.1, RFC 6191: a new incarnation.
            connection.close()
            connection = None
        if connection is not None:
            connection.handle(sequence, ack, flags, window, payload, options)
        elif flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN:
            self._open(key, sequence, options)
        else:
            self.send_reset(key, sequence, ack, flags, len(payload))

    def finish_batch(self) -> None:
        """The guest's batch of frames is through: answer it."""
        while self.dirty:
            batch, self.dirty = self.dirty, []
            for connection in batch:
                connection.finish_batch()
        if self.starved:
            self._feed()

    def send_reset(self, key: bytes, sequence: int, ack: int, flags: int, payload_bytes: int) -> None:
        """Answer a segment that belongs to no connection. Spec: RFC 9293 3.10.7.1 "CLOSED STATE"."""
        if flags & TCP_RST:
            return
        headers = self._headers(key)
        frame = bytearray(headers.size_bytes)
        if flags & TCP_ACK:
            headers.write(frame, 0, 0, ack, 0, TCP_RST, 0)
        else:
            length = payload_bytes + bool(flags & TCP_SYN) + bool(flags & TCP_FIN)
            headers.write(frame, 0, 0, 0, sequence + length, TCP_RST | TCP_ACK, 0)
        headers.complete(frame)
        self.link.send(Frame(frame))

    def _headers(self, key: bytes) -> HeaderWriter:
        half = (len(key) - 4) // 2
        return HeaderWriter(
            self.link.guest_mac,
            key[half:-4],
            int.from_bytes(key[-2:], "big"),
            key[:half],
            int.from_bytes(key[-4:-2], "big"),
        )

    # Connections that the guest asks for

    def _open(self, key: bytes, sequence: int, options: memoryview) -> None:
        """The guest's SYN: ask the host for the connection."""
        if not self._syn_rate.take(1):
            self.statistics.dropped["too many SYNs a second"] += 1
            return
        if not self._has_room():
            self.statistics.dropped["too many TCP connections"] += 1
            self.send_reset(key, sequence, 0, TCP_SYN, 0)
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
                self.statistics.refused += 1
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
        code = host.connect_ex((destination.host_address, destination.port))
        if code not in (0, errno.EINPROGRESS):
            host.close()
            self._refuse(key, sequence, code)
            return
        connection = self._add(key, host, State.CONNECTING, destination)
        connection.accept_syn(sequence, options)
        connection.deadline.set(self.loop.clock.now_ns() + self.limits.tcp_connect_s * NS_PER_S)
        connection.want_write(True)

    def connected(self, connection: TcpConnection) -> None:
        """The host's connection is there, or has failed."""
        code = connection.host.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(connection, code)
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
        connection = self._add(key, ours, State.CONNECTING, None)
        connection.accept_syn(sequence, options)
        connection.host_connected()

    def _fail(self, connection: TcpConnection, code: int) -> None:
        """The host could not connect."""
        connection.close(abort=True)
        self._refuse(connection.key, connection.receiver.next - 1, code)

    def _refuse(self, key: bytes, sequence: int, code: int) -> None:
        """Answer a SYN with what the error `code` is in the guest's protocols."""
        reason = _UNREACHABLE.get(code)
        if reason is None:
            self.send_reset(key, sequence, 0, TCP_SYN, 0)
            return
        half = (len(key) - 4) // 2
        head = key[-4:] + (sequence & 0xFFFF_FFFF).to_bytes(4, "big")
        self._errors.unreachable(reason, key[:half], key[half:-4], PROTOCOL_TCP, head)

    # Connections that the host asks for

    def open_to_guest(self, host: socket.socket, source: bytes, source_port: int, guest_port: int) -> bool:
        """Connect the accepted, non-blocking socket `host` to a port of the guest, as if from `source`.

        False if there are too many; the socket is then the caller's.
        """
        if not self._has_room():
            return False
        ends = self._subnet.guest4 + source + guest_port.to_bytes(2, "big")
        key = ends + source_port.to_bytes(2, "big")
        for _ in range(_PORT_TRIES):
            if key not in self.connections:
                host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._add(key, host, State.SYN_SENT, None).open_to_guest()
                return True
            port = 49152 | int.from_bytes(self._random_bytes(2), "big")
            key = ends + port.to_bytes(2, "big")
        return False

    # What connections ask for

    def initial_sequence(self) -> int:
        """Spec: RFC 6528, with random numbers in place of its hash and clock."""
        return int.from_bytes(self._random_bytes(4), "big")

    def parse_options(self, options: memoryview) -> SynOptions:
        return parse_syn_options(options)

    def opened(self, connection: TcpConnection) -> None:
        """The guest's end is established."""
        self._opening.discard(connection)

    def lingers(self, connection: TcpConnection) -> None:
        """It is over, and waits for what is still on the way."""
        self._time_waits[connection] = None

    def closed(self, connection: TcpConnection) -> None:
        """It is gone."""
        self.connections.pop(connection.key, None)
        self._opening.discard(connection)
        for waiting in (self._time_waits, self.starved, self._upload_waits, self._download_waits):
            waiting.pop(connection, None)
        self.statistics.tcp_open = len(self.connections)
        if self.starved:
            self.loop.call_soon(self._feed)

    def timed_out(self, connection: TcpConnection) -> None:
        if connection.state is State.CONNECTING:
            self._fail(connection, errno.ETIMEDOUT)
        else:
            connection.close()

    def upload_waits(self, connection: TcpConnection) -> None:
        self._upload_waits[connection] = None
        self._set_rates_deadline()

    def download_waits(self, connection: TcpConnection) -> None:
        self._download_waits[connection] = None
        self._set_rates_deadline()

    # All of them

    def apply_policy(self) -> None:
        """End what the policy of now forbids."""
        for connection in list(self.connections.values()):
            destination = connection.destination
            if destination is not None and not self._egress.still_allowed(destination):
                connection.abort()

    def close(self) -> None:
        """End all at once, without a word to the guest."""
        for connection in list(self.connections.values()):
            connection.close(abort=True)
        self.dirty.clear()
        self._sweep_deadline.close()
        self._rates_deadline.close()

    def _has_room(self) -> bool:
        if len(self.connections) >= self.limits.tcp_connections and self._time_waits:
            next(iter(self._time_waits)).close()
        return (
            len(self.connections) < self.limits.tcp_connections
            and len(self._opening) < self.limits.tcp_opening
        )

    def _add(
        self, key: bytes, host: socket.socket, state: State, destination: Destination | None
    ) -> TcpConnection:
        connection = TcpConnection(self, key, host, state, destination)
        self.connections[key] = connection
        self._opening.add(connection)
        self.statistics.tcp_opened += 1
        self.statistics.tcp_open = len(self.connections)
        if not self._sweep_deadline.pending:
            self._sweep_deadline.set(self.loop.clock.now_ns() + _SWEEP_S * NS_PER_S)
        return connection

    def _feed(self) -> None:
        """Let those that wait for buffers have what is free."""
        for connection in list(self.starved):
            if self.budget.free_bytes < self.budget.limit_bytes // 16:
                return
            if connection in self.starved:
                del self.starved[connection]
                connection.resume()

    def _set_rates_deadline(self) -> None:
        ready = [
            rate.ready_ns()
            for rate, waits in ((self.upload, self._upload_waits), (self.download, self._download_waits))
            if rate is not None and waits
        ]
        if ready:
            self._rates_deadline.set(min(ready))

    def _rates_ready(self) -> None:
        """A rate allows more: who has waited longest goes on first."""
        if self.upload is not None and self.upload.is_open():
            waits, self._upload_waits = self._upload_waits, {}
            for connection in waits:
                connection.resume_upload()
        if self.download is not None and self.download.is_open():
            waits, self._download_waits = self._download_waits, {}
            for connection in waits:
                connection.resume()
        self._set_rates_deadline()

    def _sweep(self) -> None:
        """End what has been silent for too long."""
        for connection in list(self.connections.values()):
            connection.idle_sweeps = 0 if connection.touched else connection.idle_sweeps + 1
            connection.touched = False
            half_closed = connection.receiver.finished or connection.sender.eof
            idle_max_s = self.limits.tcp_half_closed_idle_s if half_closed else self.limits.tcp_idle_s
            if connection.idle_sweeps * _SWEEP_S >= idle_max_s:
                connection.abort()
        if self.connections:
            self._sweep_deadline.set(self.loop.clock.now_ns() + _SWEEP_S * NS_PER_S)


def _is_intact(key: bytes, segment: memoryview) -> bool:
    """Whether the checksum is right; `key` holds the addresses."""
    half = (len(key) - 4) // 2
    pseudo = pseudo_sum(key[:half], key[half:-4], PROTOCOL_TCP, len(segment))
    return fold(pseudo + ones_sum(segment)) == 0xFFFF
