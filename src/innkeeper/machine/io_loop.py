# SPDX-License-Identifier: Apache-2.0
"""The machine's I/O thread: host descriptors that become readable, deferred device work, and timers.

Everything it calls runs with the machine's lock held, as devices expect. It polls with poll(2), which also
takes regular files and /dev/null (epoll refuses those).
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
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class IoLoop:
    """Runs work on a thread of its own between `start` and `stop`; what is asked for before waits until then.

    `on_error` is told what escaped from a callback; the loop goes on.
    """

    def __init__(
        self, lock: threading.RLock, clock: Clock, on_error: Callable[[BaseException], None]
    ) -> None:
        self._lock = lock
        self._clock = clock
        self._on_error = on_error
        self._soon: deque[Work] = deque()
        self._timers: list[tuple[int, int, Work]] = []
        self._numbers = itertools.count()
        self._readers: dict[int, Work] = {}
        self._readers_changed = True
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def call_soon(self, work: Work) -> None:
        """Run `work` on the I/O thread. From any thread; does not wait."""
        self._soon.append(work)
        self._wake()

    def call_at(self, deadline_ns: int, work: Work) -> None:
        """Run `work` once the clock has reached `deadline_ns`. From any thread."""

        def arm() -> None:
            heapq.heappush(self._timers, (deadline_ns, next(self._numbers), work))

        self.call_soon(arm)

    def add_reader(self, fd: int, ready: Work) -> None:
        """Call `ready` whenever `fd` can be read without waiting, until `remove_reader`. Lock held."""
        self._readers[fd] = ready
        self._readers_changed = True
        self._wake()

    def remove_reader(self, fd: int) -> None:
        """Look at `fd` no longer; harmless if nobody did. Lock held."""
        if self._readers.pop(fd, None) is not None:
            self._readers_changed = True

    def start(self) -> None:
        """Begin to work."""
        self._thread = threading.Thread(target=self._main, name="io", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and free the loop's descriptors. Not to be called with the lock held."""
        self._stopping = True
        self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _wake(self) -> None:
        # EAGAIN: the pipe is full of wake-ups already; EBADF: the loop has stopped.
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"\0")

    def _main(self) -> None:
        with _Selector() as selector:
            while not self._stopping:
                with self._lock:
                    self._register(selector)
                for key, _ in selector.select(self._timeout_s()):
                    if key.fd == self._wake_read:
                        with contextlib.suppress(BlockingIOError):
                            os.read(self._wake_read, 4096)
                    else:
                        self._run(self._readers.get(key.fd))
                self.run_due()

    def run_due(self) -> None:
        """Run deferred work and the timers that are due. The thread does so, or a round-robin scheduler."""
        for _ in range(len(self._soon)):
            self._run(self._soon.popleft())
        while self._timers and self._timers[0][0] <= self._clock.now_ns():
            self._run(heapq.heappop(self._timers)[2])

    def next_timer_ns(self) -> int | None:
        """When the first timer is due, None if there is none."""
        return self._timers[0][0] if self._timers else None

    def _run(self, work: Work | None) -> None:
        if work is None:
            return
        with self._lock:
            try:
                work()
            except Exception as error:
                self._on_error(error)

    def _timeout_s(self) -> float | None:
        if self._soon or self._stopping:
            return 0
        if not self._timers:
            return None
        return min(max(0, self._timers[0][0] - self._clock.now_ns()) / 1e9, 3600.0)

    def _register(self, selector: selectors.BaseSelector) -> None:
        """Make the selector's descriptors those of `_readers`. A descriptor that is not open is dropped."""
        if not self._readers_changed:
            return
        self._readers_changed = False
        for fd in list(selector.get_map()):
            selector.unregister(fd)
        selector.register(self._wake_read, selectors.EVENT_READ)
        for fd in list(self._readers):
            try:
                os.fstat(fd)
                selector.register(fd, selectors.EVENT_READ)
            except (OSError, ValueError, KeyError):
                del self._readers[fd]
