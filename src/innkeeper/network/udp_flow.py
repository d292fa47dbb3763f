# SPDX-License-Identifier: Apache-2.0
"""One UDP flow: datagrams between a port of the guest and a port elsewhere, over a socket of the host."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from typing import TYPE_CHECKING

from innkeeper.network.egress import Destination
from innkeeper.network.icmp import Unreachable
from innkeeper.network.udp_header import HEADER, UdpHeaderWriter
from innkeeper.spec.internet import PROTOCOL_UDP, UDP_HEADER_BYTES

if TYPE_CHECKING:
    from innkeeper.network.udp_table import UdpTable

_READS_MAX = 32
_TRAIN_DATAGRAMS_MAX = 64
"""Of one size, which the host's kernel takes in one call. Source: linux/udp.h UDP_MAX_SEGMENTS."""
_TRAIN_BYTES_MAX = 65_000
_DATAGRAM_BYTES_MAX = 65535
# linux/udp.h and linux/in.h; not in Python's socket module.
_SOL_UDP, _UDP_SEGMENT = 17, 103
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT, _IP_PMTUDISC_DO = 10, 0, 2
_IP_MTU, _IPV6_MTU = 14, 24
_SEGMENT = struct.Struct("=H")
UNREACHABLE = {
    errno.ECONNREFUSED: Unreachable.PORT,
    errno.ENETUNREACH: Unreachable.NET,
    errno.EHOSTUNREACH: Unreachable.HOST,
    errno.EHOSTDOWN: Unreachable.HOST,
    errno.EACCES: Unreachable.PROHIBITED,
    errno.EPERM: Unreachable.PROHIBITED,
}
"""What the guest is told of an error that the host's socket reports."""


class UdpFlow:
    """Datagrams between one port of the guest and one port elsewhere.

    `peer` is None when `host` is connected and the flow's own, else where the shared `host` sends to.
    """

    def __init__(
        self,
        table: UdpTable,
        key: bytes,
        host: socket.socket,
        destination: Destination | None,
        peer: tuple[str, int] | None,
    ) -> None:
        half = (len(key) - 4) // 2
        self.key, self.destination, self._table, self._host, self._peer = key, destination, table, host, peer
        self._guest, self._other = key[:half], key[half:-4]
        guest_port, other_port = int.from_bytes(key[-4:-2], "big"), int.from_bytes(key[-2:], "big")
        self._writer = UdpHeaderWriter(table.link, self._other, other_port, self._guest, guest_port)
        self.used_ns = table.loop.clock.now_ns()
        self.answered = False
        """Datagrams have gone both ways."""
        self._reading = False
        self._dont_fragment: bool | None = None
        self._train: list[memoryview] = []
        self._train_dont_fragment = False

    def open(self) -> None:
        """Begin to listen for answers."""
        self._want_read(self._peer is None)

    def send_to_host(self, payload: memoryview, segment_bytes: int, dont_fragment: bool) -> None:
        """A datagram of the guest, or several of `segment_bytes` each.

        Datagrams of one size wait, for no longer than the device's batch, and go in one call of the host.
        """
        self.used_ns = self._table.loop.clock.now_ns()
        if self._peer is not None:
            self.answered = True
        train = self._train
        if train and not (
            len(payload) == len(train[0])
            and not segment_bytes
            and dont_fragment is self._train_dont_fragment
            and len(train) < min(_TRAIN_DATAGRAMS_MAX, _TRAIN_BYTES_MAX // len(payload))
        ):
            self.flush()
        if segment_bytes or self._peer is not None or not payload:
            self._send_reporting(payload, segment_bytes, dont_fragment)
            return
        if not train:
            self._train_dont_fragment = dont_fragment
            self._table.trains.append(self)
        train.append(payload)

    def flush(self) -> None:
        """Send what waits."""
        train, dont_fragment = self._train, self._train_dont_fragment
        if len(train) > 1:
            try:
                self._choose_fragmenting(dont_fragment)
                size = _SEGMENT.pack(len(train[0]))
                self._host.sendmsg(train, [(_SOL_UDP, _UDP_SEGMENT, size)])
                train.clear()
                return
            except BlockingIOError:
                self._table.statistics.dropped["the host's UDP buffer is full"] += len(train)
                train.clear()
                return
            except OSError as error:
                # An earlier datagram's error, too large for the path, or a kernel that cannot: one by one.
                if error.errno in UNREACHABLE:
                    self._failed(error)
        for payload in train:
            self._send_reporting(payload, 0, dont_fragment)
        train.clear()

    def _send_reporting(self, payload: memoryview, segment_bytes: int, dont_fragment: bool) -> None:
        for last_try in (False, True):
            try:
                self._send(payload, segment_bytes, dont_fragment)
                return
            except BlockingIOError:
                self._table.statistics.dropped["the host's UDP buffer is full"] += 1
                return
            except OSError as error:
                self._failed(error)
                # An error of an earlier datagram is told once, and this one was not sent.
                if last_try or error.errno != errno.ECONNREFUSED:
                    return

    def _choose_fragmenting(self, dont_fragment: bool) -> None:
        if len(self._guest) == 4 and self._peer is None and self._dont_fragment is not dont_fragment:
            self._dont_fragment = dont_fragment
            mode = _IP_PMTUDISC_DO if dont_fragment else _IP_PMTUDISC_DONT
            self._host.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, mode)

    def _send(self, payload: memoryview, segment_bytes: int, dont_fragment: bool) -> None:
        self._choose_fragmenting(dont_fragment)
        if self._peer is not None:
            step_bytes = segment_bytes or max(1, len(payload))
            for start in range(0, max(1, len(payload)), step_bytes):
                self._host.sendto(payload[start : start + step_bytes], self._peer)
        elif segment_bytes:
            self._host.sendmsg([payload], [(_SOL_UDP, _UDP_SEGMENT, _SEGMENT.pack(segment_bytes))])
        else:
            self._host.send(payload)

    def send_to_guest(self, data: bytes) -> None:
        """A datagram from the host."""
        self.used_ns = self._table.loop.clock.now_ns()
        if self._table.download is not None and not self._table.download.take(len(data)):
            self._table.statistics.dropped["rate limit"] += 1
            return
        self._writer.send(data)

    def resume(self) -> None:
        """The guest has buffers again."""
        self._want_read(True)

    @property
    def client(self) -> tuple[int, tuple[str, int]] | None:
        """The forward's socket and the client, None for a flow that the guest began."""
        return None if self._peer is None else (self._host.fileno(), self._peer)

    def uses(self, host: socket.socket) -> bool:
        """Whether the flow sends through `host`."""
        return self._host is host

    def close(self) -> None:
        """Give up the socket, unless it is a forward's."""
        self.flush()
        self._want_read(False)
        self._table.link.forget(self)
        if self._peer is None:
            self._host.close()

    def _want_read(self, wanted: bool) -> None:
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._table.loop.add_reader(self._host.fileno(), self._readable)
            else:
                self._table.loop.remove_reader(self._host.fileno())

    def _readable(self) -> None:
        for _ in range(_READS_MAX):
            if self._table.link.blocked:
                # What waits in the socket costs less than what waits here.
                self._want_read(False)
                self._table.link.wait(self)
                return
            try:
                data = self._host.recv(_DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(error)
                return
            self.answered = True
            self.send_to_guest(data)

    def _failed(self, error: OSError) -> None:
        """Tell the guest what the host's network says of its datagrams."""
        head = self.key[-4:] + HEADER.pack(0, 0, UDP_HEADER_BYTES, 0)[4:]
        if error.errno == errno.EMSGSIZE:
            level, name = (
                (socket.IPPROTO_IP, _IP_MTU) if len(self._guest) == 4 else (socket.IPPROTO_IPV6, _IPV6_MTU)
            )
            with contextlib.suppress(OSError):
                mtu_bytes = self._host.getsockopt(level, name)
                self._table.errors.too_big(mtu_bytes, self._guest, self._other, PROTOCOL_UDP, head)
        elif error.errno in UNREACHABLE:
            reason = UNREACHABLE[error.errno]
            self._table.errors.unreachable(reason, self._guest, self._other, PROTOCOL_UDP, head)
