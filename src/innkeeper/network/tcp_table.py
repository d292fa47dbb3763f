# SPDX-License-Identifier: Apache-2.0
"""All TCP connections of a guest: whose a segment is, how they begin, and how many there may be."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from innkeeper.devices.virtio.net_frame import Frame
from innkeeper.network.checksum import fold, ones_sum, pseudo_sum
from innkeeper.network.egress import Destination, Egress
from innkeeper.network.event_loop import Deadline, EventLoop
from innkeeper.network.limits import NS_PER_S, BufferBudget, Limits, TokenBucket
from innkeeper.network.link import GuestLink
from innkeeper.network.subnet import Subnet
from innkeeper.network.tcp_buffers import ChunkPool
from innkeeper.network.tcp_connection import State, TcpConnection
from innkeeper.network.tcp_header import HEADER, HeaderWriter
from innkeeper.network.tcp_opener import StreamService, TcpOpener
from innkeeper.spec.internet import (
    PROTOCOL_TCP,
    TCP_ACK,
    TCP_FIN,
    TCP_HEADER_BYTES,
    TCP_RST,
    TCP_SYN,
)

_SWEEP_S = 30
_ACK_DELAY_NS = 1_000_000
"""Time for a server nearby to answer. Who waits for our acknowledgement loses no more than this."""


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
        self._egress, self._random_bytes = egress, random_bytes
        self.opener = TcpOpener(self, subnet, egress, dns, random_bytes)
        self._opening: set[TcpConnection] = set()
        self._time_waits: dict[TcpConnection, None] = {}
        self._upload_waits: dict[TcpConnection, None] = {}
        self._download_waits: dict[TcpConnection, None] = {}
        self._delayed_acks: dict[TcpConnection, None] = {}
        self._ack_deadline = Deadline(loop, self._acknowledge_delayed)
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
            self.opener.open(key, sequence, options)
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
        headers = HeaderWriter.answering(self.link.guest_mac, key)
        frame = bytearray(headers.size_bytes)
        if flags & TCP_ACK:
            headers.write(frame, 0, 0, ack, 0, TCP_RST, 0)
        else:
            length = payload_bytes + bool(flags & TCP_SYN) + bool(flags & TCP_FIN)
            headers.write(frame, 0, 0, 0, sequence + length, TCP_RST | TCP_ACK, 0)
        headers.complete(frame)
        self.link.send(Frame(frame))

    # What connections ask for

    def initial_sequence(self) -> int:
        """Spec: RFC 6528, with random numbers in place of its hash and clock."""
        return int.from_bytes(self._random_bytes(4), "big")

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
        for waiting in (
            self._time_waits, self.starved, self._upload_waits, self._download_waits, self._delayed_acks,
        ):  # fmt: skip
            waiting.pop(connection, None)
        self.statistics.tcp_open = len(self.connections)
        if not self.connections:
            self.pool.trim()
        if self.starved:
            self.loop.call_soon(self._feed)

    def timed_out(self, connection: TcpConnection) -> None:
        if connection.state is State.CONNECTING:
            self.opener.fail(connection, errno.ETIMEDOUT)
        else:
            connection.close()

    def delay_ack(self, connection: TcpConnection) -> None:
        """Acknowledge soon, if it is not done with data before. Spec: RFC 9293 3.8.6.3."""
        self._delayed_acks[connection] = None
        if not self._ack_deadline.pending:
            self._ack_deadline.set(self.loop.clock.now_ns() + _ACK_DELAY_NS)

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
        self._ack_deadline.close()

    def has_room(self) -> bool:
        """Whether there may be one more connection; the one that has been over for longest makes room."""
        if len(self.connections) >= self.limits.tcp_connections and self._time_waits:
            next(iter(self._time_waits)).close()
        return (
            len(self.connections) < self.limits.tcp_connections
            and len(self._opening) < self.limits.tcp_opening
        )

    def add(
        self, key: bytes, host: socket.socket, state: State, destination: Destination | None
    ) -> TcpConnection:
        """A connection in `state`, which is now one of those being opened."""
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

    def _acknowledge_delayed(self) -> None:
        delayed, self._delayed_acks = self._delayed_acks, {}
        for connection in delayed:
            connection.acknowledge()

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
