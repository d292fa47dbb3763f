# SPDX-License-Identifier: Apache-2.0
"""Bringing a running machine to rest: its harts leave compiled code and their threads end, so that its state
can be read, saved or forked.

The thread that runs the machine does what others ask for at rest, since it is the one thread that goes on in
a forked child.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from innkeeper.errors import GuestError

Work = Callable[[], None]
T = TypeVar("T")
_TURN_S = 0.5


def _ended() -> GuestError:
    return GuestError("the machine has ended", "start it again")


class Rest:
    """What the threads agree on. `halt` makes each hart leave its loop soon; harts look at `leave`.

    `on_pause` and `on_resume` are called at rest, by the thread that runs the machine.
    """

    def __init__(self, halt: Work, on_pause: Work, on_resume: Work) -> None:
        self.leave = threading.Event()
        """Set while harts are not to run: somebody asks for a rest, or the machine ends."""
        self._halt, self._on_pause, self._on_resume = halt, on_pause, on_resume
        self._changed = threading.Condition()
        self._wanted: deque[tuple[Work, Work]] = deque()
        """What to do at rest, and what to call instead if the machine ends before."""
        self._paused = False
        self._holds = False
        """The machine stands still for a pause."""
        self._closed = False

    @property
    def is_paused(self) -> bool:
        """Whether `pause` was called, and `resume` not since."""
        return self._paused

    # From other threads, without the machine's lock where they wait.

    def ask(self, work: Work, give_up: Work = lambda: None) -> None:
        """Have `work` done at rest; does not wait. `give_up` is called instead if the machine ends before."""
        with self._changed:
            closed = self._closed
            if not closed:
                self._wanted.append((work, give_up))
                self.leave.set()
                self._changed.notify_all()
        if closed:
            give_up()
        else:
            self._halt()

    def call(self, work: Callable[[], T]) -> T:
        """Have `work` done at rest and wait: gives and raises what it does; GuestError if all ends before.

        In a forked child there is nobody to tell: there `run` raises what `work` does.
        """
        done = threading.Event()
        pid = os.getpid()
        results: list[T] = []
        errors: list[BaseException] = []

        def carry_out() -> None:
            try:
                results.append(work())
            except BaseException as error:
                if os.getpid() != pid:
                    raise
                errors.append(error)
            if os.getpid() == pid:  # in a forked child nobody waits, and the lock of `done` may be held
                done.set()

        self.ask(carry_out, done.set)
        done.wait()
        if errors:
            raise errors[0]
        if not results:
            raise _ended()
        return results[0]

    def pause(self) -> None:
        """Return once the machine stands still, for good until `resume`. GuestError if it ends before."""
        with self._changed:
            self._paused = True
            self.leave.set()
            self._changed.notify_all()
        self._halt()
        with self._changed:
            self._changed.wait_for(lambda: self._holds or self._closed or not self._paused)
            if self._closed:
                raise _ended()

    def resume(self) -> None:
        """Let it run again."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def end(self) -> None:
        """The machine ends: harts leave, and no pause holds it up."""
        with self._changed:
            self.leave.set()
            self._changed.notify_all()

    # From the thread that runs the machine, while no hart runs.

    def serve(self, is_ending: Callable[[], bool]) -> None:
        """Do what was asked for, stand still while paused; return when harts may run or have to end."""
        while True:
            work = self._next(is_ending)
            if work is None:
                return
            work()

    def _next(self, is_ending: Callable[[], bool]) -> Work | None:
        with self._changed:
            while not is_ending():
                if self._wanted:
                    return self._wanted.popleft()[0]
                if not self._paused:
                    break
                if not self._holds:
                    self._on_pause()
                    self._holds = True
                    self._changed.notify_all()
                # In turns: a signal that comes just before a wait begins is noticed only at its end.
                self._changed.wait(_TURN_S)
            if self._holds:
                self._holds = False
                self._on_resume()
            if not is_ending():
                self.leave.clear()
            return None

    def close(self) -> None:
        """The machine has ended: nothing that waits is done any more."""
        with self._changed:
            self._closed = True
            left, self._wanted = self._wanted, deque()
            self._changed.notify_all()
        for _, give_up in left:
            give_up()

    def forked(self) -> None:
        """In the child of a fork: nobody has asked for anything, and it is not paused."""
        self._changed = threading.Condition()
        self._wanted = deque()
        self._paused = False
