# SPDX-License-Identifier: Apache-2.0
"""What the network needs of the machine's I/O loop (`innkeeper.machine.io_loop.IoLoop`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from innkeeper.network.limits import Clock

Work = Callable[[], None]


class TimerHandle(Protocol):
    def cancel(self) -> None:
        """Harmless when the timer has run."""
        ...


class EventLoop(Protocol):
    """Callbacks run one at a time on one thread, as do all calls of a backend."""

    @property
    def clock(self) -> Clock: ...

    def add_reader(self, fd: int, ready: Work) -> None: ...

    def remove_reader(self, fd: int) -> None: ...

    def add_writer(self, fd: int, ready: Work) -> None: ...

    def remove_writer(self, fd: int) -> None: ...

    def call_soon(self, work: Work) -> None: ...

    def call_at(self, deadline_ns: int, work: Work) -> TimerHandle: ...


class Deadline:
    """One timer that is moved often and runs seldom: moving it later costs no more than a store."""

    __slots__ = ("_at_ns", "_handle", "_loop", "_set_ns", "_work")

    def __init__(self, loop: EventLoop, work: Work) -> None:
        self._loop, self._work = loop, work
        self._at_ns: int | None = None
        self._set_ns = 0
        self._handle: TimerHandle | None = None

    def set(self, at_ns: int) -> None:
        """Run the work at `at_ns` and at no other time."""
        self._at_ns = at_ns
        if self._handle is None or at_ns < self._set_ns:
            self._arm(at_ns)

    def clear(self) -> None:
        """Do not run the work."""
        self._at_ns = None

    def close(self) -> None:
        """As `clear`, and let go of the loop's timer."""
        self._at_ns = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    @property
    def pending(self) -> bool:
        return self._at_ns is not None

    def _arm(self, at_ns: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._set_ns = at_ns
        self._handle = self._loop.call_at(at_ns, self._fired)

    def _fired(self) -> None:
        self._handle = None
        if self._at_ns is None:
            return
        if self._at_ns > self._loop.clock.now_ns():
            self._arm(self._at_ns)
            return
        self._at_ns = None
        self._work()
