# SPDX-License-Identifier: Apache-2.0
"""A machine at rest: who waits, what runs meanwhile, what time it is afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from innkeeper.engines.engine import Exit, ExitReason
from innkeeper.errors import GuestError
from innkeeper.isa.riscv import state
from innkeeper.machine.clock import VirtualClock
from innkeeper.machine.machine import Ending
from innkeeper.spec.riscv import MIP_SSIP
from innkeeper.spec.sbi import Extension, HartState
from tests.unit.machine.conftest import MakeRig
from tests.unit.machine.scripted import ScriptedVcpu, answer, ecall

Exits = Iterator[Exit]
SECOND_NS = 1_000_000_000
TIMEOUT_S = 10


def wait_until(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not reached():
        assert time.monotonic() < deadline


def spin(vcpu: ScriptedVcpu) -> Exits:
    yield from ()


def test_work_is_done_while_no_hart_runs_and_gives_its_result(make_rig: MakeRig) -> None:
    rig = make_rig(spin)
    running = rig.start()
    assert rig.engine.spinning.wait(TIMEOUT_S)
    vcpu = rig.engine.vcpus[0]
    threads: list[str] = []

    def work() -> tuple[int, int]:
        threads.extend(thread.name for thread in threading.enumerate())
        first = vcpu.runs
        rig.machine.console_write(b"x")  # the lock is held, and can be taken again
        return first, vcpu.runs

    for _ in range(20):
        first, last = rig.machine.at_rest(work)
        assert first == last
    assert "hart0" not in threads
    rig.engine.spinning.clear()
    assert rig.engine.spinning.wait(TIMEOUT_S), "the harts do not go on"
    rig.machine.stop()
    assert running.wait().ending is Ending.STOPPED


def test_work_that_raises_tells_the_caller_and_the_machine_goes_on(make_rig: MakeRig) -> None:
    rig = make_rig(spin)
    running = rig.start()
    assert rig.engine.spinning.wait(TIMEOUT_S)

    def work() -> None:
        raise GuestError("no")

    with pytest.raises(GuestError, match="no"):
        rig.machine.at_rest(work)
    assert rig.machine.at_rest(lambda: 7) == 7
    rig.machine.stop()
    running.wait()


def test_devices_have_done_what_they_deferred_before_the_work(make_rig: MakeRig) -> None:
    rig = make_rig(spin)
    running = rig.start()
    assert rig.engine.spinning.wait(TIMEOUT_S)
    done: list[int] = []
    with rig.machine.lock:  # so that the I/O thread cannot do it
        rig.machine.defer(lambda: done.append(1))
        rig.machine.defer(lambda: rig.machine.defer(lambda: done.append(2)))
    assert rig.machine.at_rest(lambda: list(done)) == [1, 2]
    rig.machine.stop()
    running.wait()


def test_time_stands_still_while_paused(make_rig: MakeRig) -> None:
    clock = VirtualClock(start_ns=SECOND_NS)
    rig = make_rig(spin, clock=clock)
    running = rig.start()
    assert rig.engine.spinning.wait(TIMEOUT_S)
    machine = rig.machine
    clock.advance_ns(SECOND_NS)
    machine.pause()
    assert machine.is_paused
    runs, before = rig.engine.vcpus[0].runs, (machine.time_ticks(), machine.harts[0].time_ticks())
    clock.advance_ns(1000 * SECOND_NS)
    assert machine.at_rest(lambda: rig.engine.vcpus[0].runs) == runs, "work at rest ends no pause"
    machine.resume()
    rig.engine.spinning.clear()
    assert rig.engine.spinning.wait(TIMEOUT_S)
    assert (machine.time_ticks(), machine.harts[0].time_ticks()) == before
    clock.advance_ns(SECOND_NS)
    assert machine.time_ticks() == before[0] + 10_000_000
    machine.stop()
    running.wait()


def test_time_goes_on_at_rest(make_rig: MakeRig) -> None:
    clock = VirtualClock()
    rig = make_rig(spin, clock=clock)
    running = rig.start()
    assert rig.engine.spinning.wait(TIMEOUT_S)
    before = rig.machine.harts[0].time_ticks()
    rig.machine.at_rest(lambda: clock.advance_ns(SECOND_NS))
    assert rig.machine.harts[0].time_ticks() == before + 10_000_000
    rig.machine.stop()
    running.wait()


def test_a_paused_machine_can_be_stopped(make_rig: MakeRig) -> None:
    rig = make_rig(spin)
    running = rig.start()
    rig.machine.pause()
    rig.machine.stop("enough")
    assert running.wait().reason == "enough"
    with pytest.raises(GuestError, match="has ended"):
        rig.machine.at_rest(lambda: None)
    with pytest.raises(GuestError, match="has ended"):
        rig.machine.pause()


def test_who_waits_is_told_when_the_machine_ends_instead(make_rig: MakeRig) -> None:
    """The hart does not leave `run` before the machine has been stopped."""
    entered, leave = threading.Event(), threading.Event()

    def script(vcpu: ScriptedVcpu) -> Exits:
        entered.set()
        assert leave.wait(TIMEOUT_S)
        yield Exit(ExitReason.BUDGET)

    rig = make_rig(script)
    running = rig.start()
    assert entered.wait(TIMEOUT_S)
    told: list[str] = []

    def wait_for_rest() -> None:
        try:
            rig.machine.at_rest(lambda: told.append("done"))
        except GuestError:
            told.append("ended")

    waiter = threading.Thread(target=wait_for_rest)
    waiter.start()
    wait_until(lambda: rig.machine.harts[0].words[state.STOP])  # the waiter has asked
    rig.machine.stop()
    leave.set()
    running.wait()
    waiter.join(TIMEOUT_S)
    assert told == ["ended"]


def test_a_call_that_is_interrupted_by_a_rest_is_made_once(make_rig: MakeRig) -> None:
    """The hart leaves between the call and its answer, which is given all the same."""
    calls: list[int] = []

    def script(vcpu: ScriptedVcpu) -> Exits:
        yield ecall(vcpu, Extension.DBCN, 2, ord("x"))
        calls.append(vcpu.ecalls)

    rig = make_rig(script)
    asked = threading.Event()

    def console(data: bytes) -> None:
        rig.output.extend(data)
        rig.machine._rest.ask(asked.set)

    rig.machine.firmware_console.write = console
    running = rig.start()
    assert asked.wait(TIMEOUT_S)
    assert rig.engine.spinning.wait(TIMEOUT_S)
    assert (bytes(rig.output), calls) == (b"x", [1])
    rig.machine.stop()
    running.wait()


def test_a_suspended_hart_stays_suspended_over_a_rest(make_rig: MakeRig) -> None:
    woken = threading.Event()
    answers: list[tuple[int, int]] = []

    def script(vcpu: ScriptedVcpu) -> Exits:
        vcpu.words[state.MIE] = MIP_SSIP
        yield ecall(vcpu, Extension.HSM, 3, 0)
        answers.append(answer(vcpu))
        woken.set()

    rig = make_rig(script)
    running = rig.start()
    vcpu = rig.engine.vcpus[0]
    wait_until(lambda: rig.machine.harts[0].state == HartState.SUSPENDED)
    runs = rig.machine.at_rest(lambda: vcpu.runs)
    assert rig.machine.at_rest(lambda: vcpu.runs) == runs and not woken.is_set()
    rig.machine.harts[0].post_ipi()
    assert woken.wait(TIMEOUT_S)
    assert answers == [(0, 0)]
    rig.machine.stop()
    running.wait()
