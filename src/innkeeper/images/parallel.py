# SPDX-License-Identifier: Apache-2.0
"""Several things at a time, on threads that cannot keep a user waiting who wants to leave."""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
_TURN_S = 0.2
"""How long a signal may stay unnoticed that came just before a wait began."""


class Abandoned(Exception):
    """Nobody waits for the result any more."""


class Stopped:
    """Whether another call has failed or the user has interrupted; shared by those of one `in_parallel`."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def check(self) -> None:
        """Raise, to end a call whose result nobody wants any more."""
        if self.event.is_set():
            raise Abandoned


def in_parallel(calls: Sequence[Callable[[Stopped], T]], threads: int) -> list[T]:
    """The results of `calls`, in order; the first exception is raised and the rest are stopped.

    The threads are not waited for then: one may be blocked by a peer that does not answer. They are daemons,
    so that the process can end, and see `Stopped` when they go on.
    """
    stopped = Stopped()
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    finished: queue.SimpleQueue[tuple[int, T | None, BaseException | None]] = queue.SimpleQueue()
    for number in range(len(calls)):
        waiting.put(number)

    def work() -> None:
        while not stopped.event.is_set():
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                finished.put((number, calls[number](stopped), None))
            except BaseException as error:
                finished.put((number, None, error))

    results: dict[int, T] = {}
    try:
        for _ in range(min(threads, len(calls))):
            threading.Thread(target=work, name="download", daemon=True).start()
        while len(results) < len(calls):
            try:
                number, result, error = finished.get(timeout=_TURN_S)
            except queue.Empty:
                continue
            if error is not None:
                raise error
            results[number] = result  # type: ignore[assignment]  # None only beside an error
    finally:
        stopped.event.set()
    return [results[number] for number in range(len(calls))]
