# SPDX-License-Identifier: Apache-2.0
"""The threads that harts run on, and waiting for them in a way that signals may interrupt."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

_TURN_S = 0.5


class HartThreads:
    """Runs each of `mains` on a thread of its own; every main returns soon once `stop` was called.

    Not waited for with `Thread.join`: in Python 3.11 and 3.12 a signal handler that raises there makes the
    thread count as ended while it runs on, and memory would be freed under a running guest.
    """

    def __init__(self, mains: Sequence[Callable[[], None]], stop: Callable[[], None]) -> None:
        self._mains = mains
        self._stop = stop
        self._changed = threading.Condition()
        self._running = 0
        self._ended = 0
        self._stopped = False

    def run(self) -> None:
        """Start all and return when all have ended.

        Interrupted by an exception (Ctrl-C), stop them; it is raised when none of them runs any longer.
        """
        try:
            for number, main in enumerate(self._mains):
                threading.Thread(target=self._run, args=(main,), name=f"hart{number}", daemon=True).start()
            self._wait_until(lambda: self._ended == len(self._mains))
        except BaseException:
            self._leave()
            raise

    def _run(self, main: Callable[[], None]) -> None:
        with self._changed:
            if self._stopped:
                return
            self._running += 1
        try:
            main()
        finally:
            with self._changed:
                self._running -= 1
                self._ended += 1
                self._changed.notify_all()

    def _wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait in turns: a signal that comes just before a wait begins is noticed only at its end."""
        with self._changed:
            while not self._changed.wait_for(reached, _TURN_S):
                pass

    def _leave(self) -> None:
        """Stop the threads, however often the user interrupts that too."""
        while True:
            try:
                with self._changed:
                    self._stopped = True  # a thread that begins only now does not call its main
                self._stop()
                self._wait_until(lambda: self._running == 0)
                return
            except BaseException:
                continue
