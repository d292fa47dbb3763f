# SPDX-License-Identifier: Apache-2.0
"""What a guest sends on a TCP connection, in order and into the host's socket.

The guest's bytes go to the socket as they come. What the socket does not take is kept, and the window that
the guest is told shrinks by as much: a slow peer slows the guest down. Segments that come too early are kept
too, within the same window.
"""

from __future__ import annotations

import socket
from bisect import insort
from collections import deque
from typing import Protocol

from innkeeper.network.limits import BufferBudget, TokenBucket

_EARLY_SEGMENTS_MAX = 128
_WINDOW_MIN_BYTES = 65535
"""Offered even when all connections together hold too much: data is then taken as the host takes it."""


class ReceiverOwner(Protocol):
    """The connection, as its receiver sees it."""

    def want_write(self, wanted: bool) -> None:
        """Call `TcpReceiver.flush` when the host's socket takes bytes, or no longer."""
        ...

    def host_failed(self, error: OSError) -> None: ...

    def upload_waits(self) -> None:
        """The VM's rate is used up: do not call `TcpReceiver.flush` before it is not."""
        ...


class TcpReceiver:
    """One direction of one connection. Sequence numbers are counted on past 2**32."""

    __slots__ = (
        "_budget",
        "_early",
        "_early_bytes",
        "_host",
        "_owner",
        "_pending",
        "_rate",
        "_window_max_bytes",
        "fin_at",
        "finished",
        "next",
        "pending_bytes",
        "shut",
    )

    def __init__(
        self,
        owner: ReceiverOwner,
        host: socket.socket,
        window_max_bytes: int,
        budget: BufferBudget,
        rate: TokenBucket | None,
    ) -> None:
        self._owner, self._host, self._budget, self._rate = owner, host, budget, rate
        self._window_max_bytes = window_max_bytes
        self.next = 0
        self.fin_at: int | None = None
        """Sequence number of the guest's FIN, once it has been seen."""
        self.finished = False
        """The guest's FIN and all before it has arrived."""
        self.shut = False
        """The host has been told of it."""
        self.pending_bytes = 0
        self._pending: deque[memoryview] = deque()
        self._early: list[tuple[int, bytes]] = []
        self._early_bytes = 0

    @property
    def window_bytes(self) -> int:
        """How much more the guest may send."""
        free_bytes = self._window_max_bytes - self.pending_bytes
        return max(0, min(free_bytes, max(self._budget.free_bytes, _WINDOW_MIN_BYTES)))

    @property
    def has_early(self) -> bool:
        """Whether something is missing before what has come."""
        return bool(self._early)

    def take(self, offset: int, payload: memoryview) -> bool:
        """Take `payload`, which begins `offset` bytes behind what is expected; whether it came in order."""
        if offset < 0:
            payload, offset = payload[-offset:], 0
        room_bytes = self._window_max_bytes - self.pending_bytes
        if self.finished or offset + len(payload) > room_bytes:
            payload = payload[: max(0, room_bytes - offset)] if not self.finished else payload[:0]
        if offset:
            self._keep_early(self.next + offset, payload)
            return False
        if payload:
            self.next += self._write(payload)
            if self._early:
                self._use_early()
        self._finish()
        return True

    def fin(self, at: int) -> None:
        """The guest's stream ends at sequence number `at`."""
        if self.fin_at is None:
            self.fin_at = at
        self._finish()

    def flush(self) -> None:
        """The host's socket takes bytes again."""
        try:
            while self._pending:
                part = self._pending[0]
                sent = self._send(part)
                self._drop_pending(sent)
                if sent < len(part):
                    self._pending[0] = part[sent:]
                    return
                self._pending.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            self._owner.host_failed(error)
            return
        self._owner.want_write(False)
        self._finish()

    def close(self) -> None:
        """Give up what is held."""
        self._drop_pending(self.pending_bytes)
        self._pending.clear()
        self._budget.give_back(self._early_bytes)
        self._early, self._early_bytes = [], 0

    def _drop_pending(self, size_bytes: int) -> None:
        self.pending_bytes -= size_bytes
        self._budget.give_back(size_bytes)

    def _send(self, part: memoryview | bytes) -> int:
        """Give `part` to the host's socket as far as the VM's rate allows; how much it took."""
        if self._rate is None:
            return self._host.send(part)
        if not self._rate.is_open():
            self._owner.upload_waits()
            return 0
        sent = self._host.send(part)
        self._rate.spend(sent)
        return sent

    def _write(self, payload: memoryview | bytes) -> int:
        """Give in-order bytes to the host or keep them; how many are taken care of."""
        sent = 0
        if not self._pending:
            try:
                sent = self._send(payload)
            except BlockingIOError:
                pass
            except OSError as error:
                self._owner.host_failed(error)
                return 0
            if sent == len(payload):
                return sent
            self._owner.want_write(True)
        rest_bytes = len(payload) - sent
        if not self._budget.take(rest_bytes):
            return sent
        self._pending.append(memoryview(bytes(payload[sent:])))
        self.pending_bytes += rest_bytes
        return len(payload)

    def _keep_early(self, start: int, payload: memoryview) -> None:
        """Spec: RFC 9293 3.10.7.4, "segments with higher beginning sequence numbers SHOULD be held"."""
        size_bytes = len(payload)
        if not size_bytes or len(self._early) >= _EARLY_SEGMENTS_MAX:
            return
        if self._early_bytes + size_bytes > self._window_max_bytes:
            return
        if any(start == other and size_bytes <= len(data) for other, data in self._early):
            return
        if self._budget.take(size_bytes):
            insort(self._early, (start, bytes(payload)))
            self._early_bytes += size_bytes

    def _use_early(self) -> None:
        """Write what is no longer early."""
        while self._early and self._early[0][0] <= self.next:
            start, data = self._early.pop(0)
            self._early_bytes -= len(data)
            self._budget.give_back(len(data))
            if start + len(data) > self.next:
                rest = memoryview(data)[self.next - start :]
                taken = self._write(rest)
                self.next += taken
                if taken < len(rest):
                    return

    def _finish(self) -> None:
        """Pass the guest's FIN on when everything before it has been passed on."""
        if self.fin_at is None:
            return
        if not self.finished and self.next == self.fin_at:
            self.next += 1
            self.finished = True
        if self.finished and not self.shut and not self._pending:
            self.shut = True
            try:
                self._host.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._owner.host_failed(error)
