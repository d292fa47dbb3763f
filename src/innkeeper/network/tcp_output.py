# SPDX-License-Identifier: Apache-2.0
"""Segments of one TCP connection to the guest: super-frames where it takes them, checksums left to it."""

from __future__ import annotations

from innkeeper.devices.virtio.net_frame import Frame
from innkeeper.network.link import GuestLink
from innkeeper.network.tcp_buffers import HEADER_ROOM_BYTES, Chunk
from innkeeper.network.tcp_header import IPV4_PAYLOAD_MAX, IPV6_PAYLOAD_MAX, HeaderWriter
from innkeeper.network.tcp_receiver import TcpReceiver
from innkeeper.network.tcp_sender import TcpSender
from innkeeper.spec.internet import TCP_ACK, TCP_CHECKSUM_OFFSET, TCP_FIN, TCP_PSH, TCP_SYN
from innkeeper.spec.virtio import NET_HDR_GSO_TCPV4, NET_HDR_GSO_TCPV6

_MSS_MIN_BYTES = 64
_WINDOW_FIELD_MAX = 0xFFFF


class TcpOutput:
    """Writes what receiver and sender have to say. `key` names the ends as in `TcpTable`."""

    __slots__ = (
        "_gso_type",
        "_headers",
        "_is_v4",
        "_link",
        "_receiver",
        "_sender",
        "payload_max_bytes",
        "scale",
        "told_window_bytes",
    )

    def __init__(self, link: GuestLink, key: bytes, receiver: TcpReceiver, sender: TcpSender) -> None:
        self._link, self._receiver, self._sender = link, receiver, sender
        self._headers = HeaderWriter.answering(link.guest_mac, key)
        self._is_v4 = len(key) == 12
        self._gso_type = NET_HDR_GSO_TCPV4 if self._is_v4 else NET_HDR_GSO_TCPV6
        self.payload_max_bytes = IPV4_PAYLOAD_MAX if self._is_v4 else IPV6_PAYLOAD_MAX
        self.scale = 0
        """Of the windows that we tell. Spec: RFC 7323 2.2."""
        self.told_window_bytes = 0

    @property
    def mss_max_bytes(self) -> int:
        """The most that a segment carries within the guest's MTU."""
        return max(_MSS_MIN_BYTES, self._link.port.mtu_bytes - (40 if self._is_v4 else 60))

    def data(self, chunk: Chunk, start: int, size_bytes: int) -> int:
        """Send the chunk's bytes from sequence number `start` on, and the stream's end if it is behind them.

        How many sequence numbers the guest's buffers took, 0 if they have no room.
        """
        link = self._link
        if link.blocked:
            return 0
        headers, mss_bytes = self._headers, self._sender.mss_bytes
        offloads = link.port.offloads
        if size_bytes > mss_bytes and not (offloads.tso4 if self._is_v4 else offloads.tso6):
            size_bytes = mss_bytes
        at = HEADER_ROOM_BYTES + start - chunk.start
        buffer, view = chunk.buffer, chunk.view
        if start != chunk.start and start != self._sender.una:
            # The headers would overwrite bytes that may have to be sent again.
            buffer = bytearray(HEADER_ROOM_BYTES) + view[at : at + size_bytes]
            view, at = memoryview(buffer), HEADER_ROOM_BYTES
        begin = at - headers.size_bytes
        flags, ends = TCP_ACK | TCP_PSH, self._sender.eof and start + size_bytes == self._sender.end
        if ends:
            flags |= TCP_FIN
        headers.write(buffer, begin, size_bytes, start, self._receiver.next, flags, self._window())
        frame = Frame(view[begin : at + size_bytes], 0, 0, headers.size_bytes)
        if size_bytes > mss_bytes:
            frame.gso_type, frame.gso_size_bytes = self._gso_type, mss_bytes
        return size_bytes + ends if self._offer(frame, offloads.checksum) else 0

    def control(self, flags: int, sequence: int, options: bytes = b"") -> bool:
        """Send a segment without data, False if the guest has no buffer for it."""
        if self._link.blocked:
            return False
        frame = bytearray(self._headers.size_bytes) + options
        if flags & TCP_SYN:
            # The guest may have been heard of since the last try.
            self._headers.aim(self._link.guest_mac)
            window = self.told_window_bytes = min(self._receiver.window_bytes, _WINDOW_FIELD_MAX)
        else:
            window = self._window()
        ack = self._receiver.next if flags & TCP_ACK else 0
        self._headers.write(frame, 0, len(options), sequence, ack, flags, window, 5 + len(options) // 4)
        return self._offer(Frame(frame), self._link.port.offloads.checksum)

    def _offer(self, frame: Frame, partial_checksum: bool) -> bool:
        if partial_checksum:
            frame.checksum_start, frame.checksum_offset = self._headers.tcp_start, TCP_CHECKSUM_OFFSET
        else:
            self._headers.complete(memoryview(frame.data))
        return self._link.offer(frame)

    def _window(self) -> int:
        window_bytes = self.told_window_bytes = self._receiver.window_bytes
        return min(window_bytes >> self.scale, _WINDOW_FIELD_MAX)
