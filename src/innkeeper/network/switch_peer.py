# SPDX-License-Identifier: Apache-2.0
"""The connection between two members of a private network: packets that hold one frame each, or a greeting.

A packet is a virtio header and a frame. A greeting begins with GREETING, which is no header's first byte, and
is JSON. A peer is another process of this user, but its VM may have taken it over: what it sends is not
trusted.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from innkeeper.devices.virtio import net_header
from innkeeper.devices.virtio.net_frame import Frame
from innkeeper.network.event_loop import Deadline, EventLoop
from innkeeper.network.limits import TokenBucket

GREETING = 0xFF
GREETING_BYTES_MAX = 1024
PACKETS_PER_TURN = 16
"""After so many from one peer the others, and the guest's own frames, get their turn."""
FRAMES_PER_S, FRAMES_BURST = 20_000, 4_000
"""What a peer may send us. More waits in its own queue and is lost there: a flood costs who makes it."""
QUEUE_BYTES_MAX = 2 << 20
"""What waits for one peer to take it."""
_SOCKET_BUFFER_BYTES = 1 << 20
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Greeting:
    """How a member introduces itself: its VM's name, empty if it has none, and its IPv4 address (packed)."""

    name: str
    address: bytes

    def encode(self) -> bytes:
        text = json.dumps({"name": self.name, "address": str(ipaddress.IPv4Address(self.address))})
        return bytes((GREETING,)) + text.encode()

    @classmethod
    def decode(cls, packet: bytes) -> Greeting | None:
        """None for what is no greeting."""
        try:
            data = json.loads(packet[1:])
            name, address = data["name"], ipaddress.IPv4Address(data["address"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        if not isinstance(name, str) or (name and not _NAME.fullmatch(name)):
            return None
        return cls(name, address.packed)


class SwitchPeer:
    """One other member. `on_packet(peer, packet)` takes a whole packet, a view that is valid during the call,
    and says whether it wants more now; `on_gone(peer)` hears that the other end has closed."""

    def __init__(
        self,
        loop: EventLoop,
        connection: socket.socket,
        on_packet: Callable[[SwitchPeer, memoryview], bool],
        on_gone: Callable[[SwitchPeer], None],
    ) -> None:
        self.greeting: Greeting | None = None
        self.kept: deque[Frame] = deque()
        """Frames for our guest that found no buffer; nothing is read meanwhile."""
        self.dropped_frames = 0
        self._loop, self._socket = loop, connection
        self._on_packet, self._on_gone = on_packet, on_gone
        self._buffer = memoryview(bytearray(net_header.PACKET_BYTES_MAX + 1))
        self._queue: deque[bytes] = deque()
        self._queue_bytes = 0
        self._bucket = TokenBucket(loop.clock, FRAMES_PER_S, FRAMES_BURST)
        self._rest = Deadline(loop, self.resume)
        self._closed = False
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        self.resume()

    def send(self, header: bytes, data: bytes | bytearray | memoryview) -> None:
        """Send a packet, or keep it while the peer is slow, or drop it when it is too slow."""
        if self._queue:
            self._keep(header, data)
            return
        try:
            self._socket.sendmsg((header, data))
        except BlockingIOError:
            self._keep(header, data)
        except OSError as error:
            self._failed(error)

    def resume(self) -> None:
        """Read on."""
        if not self._closed:
            self._rest.clear()
            self._loop.add_reader(self._socket.fileno(), self._readable)

    def pause(self) -> None:
        """Read no more until `resume`."""
        if not self._closed:
            self._rest.clear()
            self._loop.remove_reader(self._socket.fileno())

    def close(self) -> None:
        """Leave; harmless when repeated."""
        if not self._closed:
            self._closed = True
            self._rest.close()
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()

    def _keep(self, header: bytes, data: bytes | bytearray | memoryview) -> None:
        packet_bytes = len(header) + len(data)
        if self._closed or self._queue_bytes + packet_bytes > QUEUE_BYTES_MAX:
            self.dropped_frames += 1
            return
        if not self._queue:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        self._queue.append(b"".join((header, data)))
        self._queue_bytes += packet_bytes

    def _writable(self) -> None:
        while self._queue:
            try:
                self._socket.send(self._queue[0])
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(error)
                return
            self._queue_bytes -= len(self._queue.popleft())
        self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        for _ in range(PACKETS_PER_TURN):
            if not self._bucket.take(1):
                self.pause()
                self._rest.set(self._bucket.ready_ns())
                return
            try:
                count = self._socket.recv_into(self._buffer)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(error)
                return
            if count == 0:
                self._end()
                return
            if not self._on_packet(self, self._buffer[:count]):
                self.pause()
                return
            if self._closed:
                return

    def _failed(self, error: OSError) -> None:
        """Too long a packet for the socket is lost; anything else means that nobody is there."""
        import errno

        if error.errno in (errno.EMSGSIZE, errno.ENOBUFS, errno.ENOMEM):
            self.dropped_frames += 1
        else:
            self._end()

    def _end(self) -> None:
        if not self._closed:
            self.close()
            self._on_gone(self)
