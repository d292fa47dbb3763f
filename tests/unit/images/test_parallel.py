# SPDX-License-Identifier: Apache-2.0
"""Downloads at the same time: their order, their errors, and that none keeps the user waiting."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from innkeeper.images.parallel import Abandoned, Stopped, in_parallel


def test_results_are_in_order() -> None:
    calls = [lambda stopped, n=n: n * n for n in range(20)]
    assert in_parallel(calls, threads=4) == [n * n for n in range(20)]
    assert in_parallel([], threads=4) == []


def test_an_error_stops_the_others_and_is_not_kept_waiting_by_them() -> None:
    blocked, seen = threading.Event(), threading.Event()

    def slow(stopped: Stopped) -> None:
        blocked.wait()
        try:
            stopped.check()
        except Abandoned:
            seen.set()

    def fail(stopped: Stopped) -> None:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        in_parallel([slow, fail, slow], threads=2)
    blocked.set()
    assert seen.wait(20)


def test_the_user_can_leave_while_a_peer_does_not_answer() -> None:
    blocked = threading.Event()

    def stalled(stopped: Stopped) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        blocked.wait()

    with pytest.raises(KeyboardInterrupt):
        in_parallel([stalled], threads=1)
    blocked.set()
