# SPDX-License-Identifier: Apache-2.0
"""An event loop for tests: time moves when it is told to, descriptors are real."""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable

from innkeeper.machine.clock import VirtualClock

Work = Callable[[], None]
PATIENCE_S = 30.0


class _Timer:
    def __init__(self, work: Work) -> None:
        self.work: Work | None = work

    def cancel(self) -> None:
        self.work = None


class VirtualLoop:
    """Satisfies `EventLoop`. Nothing runs but in `turn`, `advance_ns` and `until`."""

    def __init__(self) -> None:
        # Not at zero, where a forgotten time-stamp would look like a real one.
        self.clock = VirtualClock(10**12)
        self.readers: dict[int, Work] = {}
        self.writers: dict[int, Work] = {}
        self._soon: list[Work] = []
        self._timers: list[tuple[int, int, _Timer]] = []
        self._numbers = itertools.count()

    def add_reader(self, fd: int, ready: Work) -> None:
        assert fd >= 0
        self.readers[fd] = ready

    def remove_reader(self, fd: int) -> None:
        self.readers.pop(fd, None)

    def add_writer(self, fd: int, ready: Work) -> None:
        assert fd >= 0
        self.writers[fd] = ready

    def remove_writer(self, fd: int) -> None:
        self.writers.pop(fd, None)

    def call_soon(self, work: Work) -> None:
        self._soon.append(work)

    def call_at(self, deadline_ns: int, work: Work) -> _Timer:
        timer = _Timer(work)
        heapq.heappush(self._timers, (deadline_ns, next(self._numbers), timer))
        return timer

    def turn(self, timeout_s: float = 0) -> None:
        """Run what is to run now, and what the descriptors are ready for."""
        soon, self._soon = self._soon, []
        for work in soon:
            work()
        poll = select.poll()
        for fd in {*self.readers, *self.writers}:
            events = (select.POLLIN if fd in self.readers else 0) | (
                select.POLLOUT if fd in self.writers else 0
            )
            poll.register(fd, events)
        for fd, events in poll.poll(timeout_s * 1000):
            assert not events & select.POLLNVAL, f"descriptor {fd} was closed before it was removed"
            failed = events & (select.POLLERR | select.POLLHUP)
            if fd in self.readers and (events & select.POLLIN or failed):
                self.readers[fd]()
            if fd in self.writers and (events & select.POLLOUT or failed):
                self.writers[fd]()

    def advance_ns(self, elapsed_ns: int) -> None:
        """Let time pass, timer by timer."""
        end_ns = self.clock.now_ns() + elapsed_ns
        while self._timers and self._timers[0][0] <= end_ns:
            at_ns, _, timer = heapq.heappop(self._timers)
            self.clock.advance_ns(max(0, at_ns - self.clock.now_ns()))
            work, timer.work = timer.work, None
            if work is not None:
                work()
        self.clock.advance_ns(end_ns - self.clock.now_ns())

    def advance_s(self, elapsed_s: float) -> None:
        self.advance_ns(int(elapsed_s * 1e9))

    def until(self, condition: Callable[[], bool]) -> None:
        """Turn until `condition` holds; virtual time stands still."""
        patience_ends_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < patience_ends_s, "this never happened"
            self.turn(0.01)
