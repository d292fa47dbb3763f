# SPDX-License-Identifier: Apache-2.0
"""What the host's socket receives, to the guest, reliably.

Bytes are read from the socket only when the guest's window has room for them, and kept until the guest has
acknowledged them: a slow guest slows its peer down. There is no congestion on a cable that is memory, so the
guest's window alone limits what is on the way, until something is lost.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from typing import Protocol

from innkeeper.network.limits import Clock, TokenBucket
from innkeeper.network.tcp_buffers import HEADER_ROOM_BYTES, PAYLOAD_BYTES_MAX, Chunk, ChunkPool
from innkeeper.network.tcp_rtt import RetransmissionTimeout

_CHUNKS_MAX = 512
"""Chunks on the way: a peer that sends single bytes costs no more than this."""
_READS_MAX = 8
"""Reads in one go, so that one stream does not hold up the others."""
_DUPLICATES = 3


class SenderOwner(Protocol):
    """The connection, as its sender sees it."""

    def transmit(self, chunk: Chunk, start: int, size_bytes: int) -> int:
        """Send the chunk's bytes from sequence number `start` on, and the stream's end if it is behind them.

        How many sequence numbers the guest's buffers took, 0 if they have no room.
        """
        ...

    def transmit_fin(self) -> bool: ...

    def want_read(self, wanted: bool) -> None:
        """Call `TcpSender.pump` when the host's socket can be read, or no longer."""
        ...

    def buffers_wanted(self) -> None:
        """The VM's buffers are used up: call `TcpSender.pump` when some are free."""
        ...

    def download_waits(self) -> None:
        """The VM's rate is used up: call `TcpSender.pump` when it is not."""
        ...

    def host_failed(self, error: OSError) -> None: ...

    def retransmitted(self) -> None: ...


class TcpSender:
    """One direction of one connection. Sequence numbers are counted on past 2**32.

    Spec: RFC 9293 3.3.1 for `una`, `next` and the window; RFC 6582 for recovery without SACK.
    """

    __slots__ = (
        "_chunks", "_clock", "_congestion_bytes", "_duplicates", "_flight_max_bytes", "_host", "_owner",
        "_pool", "_rate", "_recover", "_recovering", "_timed_at_ns", "_timed_end", "_window_ack",
        "_window_sequence", "end", "eof", "highest", "mss_bytes", "next", "read_max_bytes", "timeout",
        "una", "window_bytes",
    )  # fmt: skip

    def __init__(
        self,
        owner: SenderOwner,
        host: socket.socket,
        initial: int,
        pool: ChunkPool,
        clock: Clock,
        flight_max_bytes: int,
        rate: TokenBucket | None,
    ) -> None:
        self._owner, self._host, self._pool, self._clock, self._rate = owner, host, pool, clock, rate
        self._flight_max_bytes = flight_max_bytes
        self.una = self.next = self.highest = self.end = initial
        self.window_bytes = 0
        self.mss_bytes = 536
        self.read_max_bytes = PAYLOAD_BYTES_MAX
        self.eof = False
        """The host's peer has said that its stream ends, at `end`."""
        self.timeout = RetransmissionTimeout()
        self._chunks: deque[Chunk] = deque()
        self._congestion_bytes = flight_max_bytes
        self._duplicates = 0
        self._recovering = False
        self._recover = initial
        self._timed_end: int | None = None
        self._timed_at_ns = 0
        self._window_sequence = self._window_ack = 0

    @property
    def finished(self) -> bool:
        """The end of the stream was sent, and the guest has acknowledged it."""
        return self.eof and self.una == self.end + 1

    @property
    def in_flight(self) -> bool:
        return self.una < self.highest

    @property
    def starved(self) -> bool:
        """Nothing is on the way, and the window has no room: only the guest can end that."""
        return not self.in_flight and self._room_bytes() <= 0

    def begin(self, sequence: int, window_bytes: int, mss_bytes: int, read_max_bytes: int) -> None:
        """Our stream starts at `sequence`, for a guest with this window."""
        self.una = self.next = self.highest = self.end = self._recover = sequence
        self.window_bytes, self.mss_bytes = window_bytes, mss_bytes
        self.read_max_bytes = max(mss_bytes, min(read_max_bytes, PAYLOAD_BYTES_MAX) // mss_bytes * mss_bytes)

    def pump(self) -> None:
        """Send what may be sent, and read more from the host where there is room for it."""
        for _ in range(_READS_MAX):
            if self.next < self.end and not self._send_kept():
                return
            if self.eof:
                if self.next == self.end and self._owner.transmit_fin():
                    self.next = self.end + 1
                    self.highest = max(self.highest, self.next)
                return
            if not self._read():
                return
        if self.next < self.end and not self._send_kept():
            return
        self._owner.want_read(not self.eof)

    def acknowledged(self, ack: int, window_bytes: int, sequence: int, payload_bytes: int) -> bool:
        """Take in an acknowledgement, up to `highest`, from a segment at `sequence`; whether it was news."""
        old_window_bytes = self.window_bytes
        if (sequence, ack) >= (self._window_sequence, self._window_ack):
            self.window_bytes, self._window_sequence, self._window_ack = window_bytes, sequence, ack
        if ack > self.una:
            self._advance(ack)
            return True
        if ack == self.una and not payload_bytes and window_bytes == old_window_bytes and self.in_flight:
            self._duplicates += 1
            if self._duplicates == _DUPLICATES and not self._recovering and ack >= self._recover:
                self._begin_recovery()
        return self.window_bytes != old_window_bytes

    def expired(self) -> None:
        """The retransmission time-out passed: go back to the first byte that is not acknowledged."""
        self.timeout.expired()
        self._owner.retransmitted()
        self._recover = self.highest
        self._recovering, self._duplicates, self._timed_end = False, 0, None
        self._congestion_bytes = 4 * self.mss_bytes
        self.next = self.una
        self.pump()

    def close(self) -> None:
        """Give up what is held."""
        while self._chunks:
            self._pool.release(self._chunks.popleft())

    def _room_bytes(self) -> int:
        limit_bytes = min(self.window_bytes, self._congestion_bytes, self._flight_max_bytes)
        return limit_bytes - (self.next - self.una)

    def _advance(self, ack: int) -> None:
        acknowledged_bytes = ack - self.una
        self.una = ack
        self.next = max(self.next, ack)
        self._duplicates = 0
        chunks = self._chunks
        while chunks and chunks[0].end <= ack:
            self._pool.release(chunks.popleft())
        self.timeout.answered()
        if self._timed_end is not None and ack >= self._timed_end:
            self.timeout.measured(self._clock.now_ns() - self._timed_at_ns)
            self._timed_end = None
        if self._recovering:
            if ack >= self._recover:
                self._recovering = False
            else:
                self._resend_first()
        if self._congestion_bytes < self._flight_max_bytes:
            self._congestion_bytes = min(self._flight_max_bytes, self._congestion_bytes + acknowledged_bytes)

    def _begin_recovery(self) -> None:
        """Spec: RFC 6582 3.2 step 2."""
        self._recovering, self._recover = True, self.highest
        self._congestion_bytes = max((self.highest - self.una) // 2, 4 * self.mss_bytes)
        self._resend_first()

    def _resend_first(self) -> None:
        self._timed_end = None
        self._owner.retransmitted()
        if self._chunks:
            chunk = self._chunks[0]
            self._owner.transmit(chunk, self.una, chunk.end - self.una)
        elif self.eof:
            self._owner.transmit_fin()

    def _send_kept(self) -> bool:
        """Send what was read and not sent, or is to be sent again; False if some of it cannot be sent now."""
        for chunk in self._chunks:
            while chunk.start <= self.next < chunk.end:
                size_bytes = min(chunk.end - self.next, self._room_bytes())
                if size_bytes <= 0:
                    self._owner.want_read(False)
                    return False
                if not self._send(chunk, size_bytes):
                    return False
        return True

    def _send(self, chunk: Chunk, size_bytes: int) -> bool:
        sent = self._owner.transmit(chunk, self.next, size_bytes)
        if not sent:
            self._owner.want_read(False)
            return False
        self.next += sent
        if self.next > self.highest:
            self.highest = self.next
            if self._timed_end is None:
                self._timed_end, self._timed_at_ns = self.next, self._clock.now_ns()
        return True

    def _read(self) -> bool:
        """Read a chunk from the host and send it; False if there is none, or no room for it."""
        room_bytes = self._room_bytes()
        # Not by crumbs: RFC 9293 3.8.6.2.1.
        crumb = room_bytes < self.mss_bytes and self.in_flight
        if room_bytes <= 0 or crumb or len(self._chunks) >= _CHUNKS_MAX:
            self._owner.want_read(False)
            return False
        if self._rate is not None and not self._rate.is_open():
            self._owner.want_read(False)
            self._owner.download_waits()
            return False
        large = self._pool.take()
        if large is None:
            self._owner.want_read(False)
            self._owner.buffers_wanted()
            return False
        limit_bytes = min(room_bytes, self.read_max_bytes)
        try:
            size_bytes = self._host.recv_into(
                large[1][HEADER_ROOM_BYTES : HEADER_ROOM_BYTES + limit_bytes], limit_bytes
            )
        except OSError as error:
            self._pool.give_back(large)
            self._no_data(error)
            return False
        if not size_bytes:
            self._pool.give_back(large)
            self.eof = True
            self._owner.want_read(False)
            return True
        if self._rate is not None:
            self._rate.spend(size_bytes)
        chunk = self._pool.chunk(large, self.end, size_bytes)
        self._chunks.append(chunk)
        self.end += size_bytes
        drained = size_bytes < limit_bytes and self._is_drained()
        if not self._send(chunk, size_bytes):
            return False
        if drained and self.next == self.end:
            self._owner.want_read(True)
            return False
        return True

    def _is_drained(self) -> bool:
        """Whether nothing is left to read for now. An end that has come goes with the data before it."""
        try:
            self.eof = not self._host.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            # What was read comes first, then reading fails again.
            return False
        if self.eof:
            self._owner.want_read(False)
        return False

    def _no_data(self, error: OSError) -> None:
        if error.errno in (errno.EAGAIN, errno.EINTR):
            self._owner.want_read(True)
        else:
            self._owner.host_failed(error)
