# SPDX-License-Identifier: Apache-2.0
"""Threads of harts: an interrupted wait leaves none of them running."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from innkeeper.machine.hart_threads import HartThreads
from tests.unit.machine.conftest import MakeRig


def test_it_ends_when_all_have_ended() -> None:
    ended: list[int] = []
    HartThreads([lambda number=number: ended.append(number) for number in range(8)], lambda: None).run()
    assert sorted(ended) == list(range(8))


@pytest.mark.parametrize("signals", [1, 5])
def test_interrupted_it_raises_only_when_no_thread_runs(signals: int) -> None:
    """More than one Ctrl-C too: what the threads use is freed right afterwards."""
    stopped, begun, stop_asked = threading.Event(), threading.Barrier(3), threading.Event()
    running = [True, True]

    def main(number: int) -> None:
        begun.wait()
        stopped.wait()
        running[number] = False

    def interrupt() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)
        stop_asked.wait()
        for _ in range(signals - 1):
            os.kill(os.getpid(), signal.SIGINT)
        stopped.set()

    user = threading.Thread(target=interrupt)
    user.start()
    threads = HartThreads([lambda: main(0), lambda: main(1)], stop_asked.set)
    with pytest.raises(KeyboardInterrupt):
        try:
            threads.run()
        finally:
            left = list(running)
    user.join()
    assert left == [False, False]


def test_an_interrupted_machine_can_be_closed(make_rig: MakeRig) -> None:
    """A hart that still ran would find its engine closed, which the scripted one refuses."""
    rig = make_rig(lambda vcpu: iter(()), cpus=2)

    def interrupt() -> None:
        rig.engine.spinning.wait()
        os.kill(os.getpid(), signal.SIGINT)

    user = threading.Thread(target=interrupt)
    user.start()
    with pytest.raises(KeyboardInterrupt):
        rig.machine.run()
    runs = [vcpu.runs for vcpu in rig.engine.vcpus]
    rig.machine.close()
    user.join()
    assert [vcpu.runs for vcpu in rig.engine.vcpus] == runs
