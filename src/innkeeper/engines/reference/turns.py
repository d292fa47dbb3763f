# SPDX-License-Identifier: Apache-2.0
"""Harts of the reference engine take turns: one executes at a time, in the order in which they asked.

That makes every instruction atomic and memory sequentially consistent. A plain lock would do as well but for
fairness: its holder mostly gets it back at once.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from types import TracebackType


class Turns:
    """A mutual exclusion that is granted first come, first served. A context manager; not reentrant."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._held = False
        self._waiting: deque[Lock] = deque()

    def __enter__(self) -> None:
        with self._guard:
            if not self._held:
                self._held = True
                return
            mine = Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False
