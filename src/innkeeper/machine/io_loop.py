# SPDX-License-Identifier: Apache-2.0
"""The machine's I/O thread: host descriptors that become ready, deferred device work, and timers.

Everything it calls runs with the machine's lock held, as devices expect, and the lock is free between two
calls.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable

from innkeeper.machine.clock import Clock

Work = Callable[[], None]
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_CHANGES_COUNT_AT_ONCE = hasattr(selectors, "EpollSelector")
"""Whether a selector that waits notices what is registered with it meanwhile."""
_SLEEP_MAX_S = 3600.0
_NEVER_NS = 1 << 63
_CANCELLED_MIN = 64
"""So many cancelled timers are kept before it is looked whether they are most of all."""


class Timer:
    """What `IoLoop.call_at` returns."""

    __slots__ = ("_loop", "work")

    def __init__(self, loop: IoLoop, work: Work) -> None:
        self._loop = loop
        self.work: Work | None = work

    def cancel(self) -> None:
        """Do not call it; harmless when it was called or cancelled already. Machine lock held."""
        if self.work is not None:
            self.work = None
            self._loop.timer_cancelled()


class IoLoop:
    """Runs work on a thread of its own between `start` and `stop`; what is asked for before waits until then.

    `on_error` is told what escaped from a callback; the loop goes on. Satisfies `EventLoop` of `network`.
    """

    def __init__(
        self, lock: threading.RLock, clock: Clock, on_error: Callable[[BaseException], None]
    ) -> None:
        self.clock = clock
        self._lock = lock
        self._on_error = on_error
        self._soon: deque[Work] = deque()
        self._timers: list[tuple[int, int, Timer]] = []
        self._timers_lock = threading.Lock()
        self._cancelled = 0
        self._numbers = itertools.count()
        self._readers: dict[int, Work] = {}
        self._writers: dict[int, Work] = {}
        self._always: set[int] = set()
        """Descriptors that are always ready and cannot be waited for: regular files, /dev/null."""
        self._selector: selectors.BaseSelector | None = None
        self._sleeping = False
        self._sleep_until_ns = _NEVER_NS
        """The timer that ends its sleep; later ones need not wake it."""
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._open_pipe()

    def _open_pipe(self) -> None:
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def call_soon(self, work: Work) -> None:
        """Run `work` on the I/O thread. From any thread; does not wait."""
        self._soon.append(work)
        self._wake()

    def call_at(self, deadline_ns: int, work: Work) -> Timer:
        """Run `work` once the clock has reached `deadline_ns`. From any thread."""
        timer = Timer(self, work)
        with self._timers_lock:
            heapq.heappush(self._timers, (deadline_ns, next(self._numbers), timer))
        if deadline_ns < self._sleep_until_ns:
            self._wake()
        return timer

    @property
    def sleeps(self) -> bool:
        """Whether the thread has nothing to do: to wake it costs more than a little work."""
        return self._sleeping

    def add_reader(self, fd: int, ready: Work) -> None:
        """Call `ready` whenever `fd` can be read without waiting, until `remove_reader`. Lock held.

        A descriptor has to be removed before it is closed.
        """
        self._readers[fd] = ready
        self._watch(fd)

    def remove_reader(self, fd: int) -> None:
        """Look no longer whether `fd` can be read; harmless if nobody did. Lock held."""
        if self._readers.pop(fd, None) is not None:
            self._watch(fd)

    def add_writer(self, fd: int, ready: Work) -> None:
        """Call `ready` whenever `fd` takes bytes without waiting, until `remove_writer`. Lock held."""
        self._writers[fd] = ready
        self._watch(fd)

    def remove_writer(self, fd: int) -> None:
        """Look no longer whether `fd` can be written; harmless if nobody did. Lock held."""
        if self._writers.pop(fd, None) is not None:
            self._watch(fd)

    def start(self) -> None:
        """Begin to work."""
        self._thread = threading.Thread(target=self._main, name="io", daemon=True)
        self._thread.start()

    @property
    def is_started(self) -> bool:
        """Whether there is a thread that does the work."""
        return self._thread is not None

    def stop(self) -> None:
        """End the thread and free the loop's descriptors. Not to be called with the lock held."""
        self._stopping = True
        self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def run_due(self) -> None:
        """Run deferred work and the timers that are due. The thread does so, or a round-robin scheduler."""
        timers = self._timers
        for _ in range(len(self._soon)):
            if not self._run_next():
                break
        while timers and timers[0][0] <= self.clock.now_ns():
            with self._timers_lock:
                timer = heapq.heappop(timers)[2]
            work, timer.work = timer.work, None
            if work is None:
                self._cancelled -= 1
            self._run(work)

    def run_deferred(self) -> None:
        """Run deferred work until none is left. By any thread with the lock held: devices are idle then."""
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Run the next piece of deferred work, if there is one."""
        try:
            work = self._soon.popleft()
        except IndexError:  # another thread may have done it
            return False
        self._run(work)
        return True

    def forked(self) -> None:
        """In the child of a fork: a loop of its own, started when `start` is called, that looks at nothing.

        Deferred work and timers are kept. Only to be called in the child.
        """
        self._timers_lock = threading.Lock()
        self._readers.clear()
        self._writers.clear()
        self._always.clear()
        if self._selector is not None:
            self._selector.close()
            self._selector = None
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._open_pipe()
        self._sleeping = False
        self._thread = None

    def next_timer_ns(self) -> int | None:
        """When the first timer is due, None if there is none."""
        return self._timers[0][0] if self._timers else None

    def timer_cancelled(self) -> None:
        """A timer of this loop will not be called: forget it when most of them are such."""
        self._cancelled += 1
        if self._cancelled < max(_CANCELLED_MIN, len(self._timers) // 2):
            return
        with self._timers_lock:
            self._timers[:] = [entry for entry in self._timers if entry[2].work is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def _wake(self) -> None:
        # Whoever adds work looks at `_sleeping` behind it, the loop at the work behind `_sleeping`.
        if self._sleeping or self._stopping:
            self._sleeping = False
            # EAGAIN: the pipe is full of wake-ups already; EBADF: the loop has stopped.
            with contextlib.suppress(OSError):
                os.write(self._wake_write, b"\0")

    def _main(self) -> None:
        with selectors.DefaultSelector() as selector:
            with self._lock:
                self._selector = selector
                selector.register(self._wake_read, _READ)
                for fd in {*self._readers, *self._writers}:
                    self._watch(fd)
            try:
                while not self._stopping:
                    self._turn(selector)
            finally:
                self._selector = None

    def _turn(self, selector: selectors.BaseSelector) -> None:
        """Wait until there is something to do, and do all of it once."""
        self._sleep_until_ns = _NEVER_NS
        self._sleeping = True
        events = selector.select(self._timeout_s())
        self._sleeping = False
        readers, writers = self._readers, self._writers
        for key, mask in events:
            fd = key.fd
            if fd == self._wake_read:
                with contextlib.suppress(BlockingIOError):
                    os.read(fd, 4096)
                continue
            if mask & _READ:
                self._run(readers.get(fd))
            if mask & _WRITE:
                self._run(writers.get(fd))
        for fd in tuple(self._always):
            self._run(readers.get(fd))
            self._run(writers.get(fd))
        self.run_due()

    def _run(self, work: Work | None) -> None:
        if work is None:
            return
        with self._lock:
            try:
                work()
            except Exception as error:
                self._on_error(error)

    def _timeout_s(self) -> float | None:
        if self._soon or self._stopping or self._always:
            return 0
        try:
            deadline_ns = self._timers[0][0]
        except IndexError:
            return None
        self._sleep_until_ns = deadline_ns
        return min(max(0, deadline_ns - self.clock.now_ns()) / 1e9, _SLEEP_MAX_S)

    def _watch(self, fd: int) -> None:
        """Make what the selector looks for at `fd` what is wanted. One that is not open is dropped."""
        selector = self._selector
        if selector is None:
            return
        events = (_READ if fd in self._readers else 0) | (_WRITE if fd in self._writers else 0)
        self._always.discard(fd)
        known = fd in selector.get_map()
        try:
            if not events:
                if known:
                    selector.unregister(fd)
            elif known:
                selector.modify(fd, events)
            else:
                selector.register(fd, events)
        except PermissionError:
            # epoll refuses what never makes anybody wait.
            self._always.add(fd)
            self._wake()
        except (OSError, ValueError, KeyError):
            self._readers.pop(fd, None)
            self._writers.pop(fd, None)
        if not _CHANGES_COUNT_AT_ONCE:
            self._wake()
