# SPDX-License-Identifier: Apache-2.0
"""Deterministic runs: one thread, virtual time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from innkeeper.engines.engine import Exit, ExitReason
from innkeeper.errors import ConfigError
from innkeeper.isa.riscv import state
from innkeeper.machine.clock import VirtualClock
from innkeeper.machine.machine import Ending
from innkeeper.machine.round_robin import RoundRobin
from innkeeper.spec import board
from innkeeper.spec.riscv import MIP_SSIP, MIP_STIP
from innkeeper.spec.sbi import Extension, HartState
from tests.unit.machine.conftest import MakeRig
from tests.unit.machine.scripted import ScriptedVcpu, ecall

SECOND = board.TIMEBASE_HZ


def test_sleep_costs_no_host_time_and_exactly_its_virtual_time(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Iterator[Exit]:
        vcpu.words[state.MIE] = MIP_STIP
        for _ in range(3):
            begun = rig.machine.harts[0].time_ticks()
            yield ecall(vcpu, Extension.TIME, 0, begun + 1000 * SECOND)
            yield Exit(ExitReason.IDLE)
            slept.append(rig.machine.harts[0].time_ticks() - begun)
        yield Exit(ExitReason.MMIO_WRITE, board.TEST.base, 4, 0x5555)

    slept: list[int] = []
    rig = make_rig(script, clock=VirtualClock(), instructions_per_tick=10)
    outcome = RoundRobin(rig.machine).run(1_000_000)
    assert outcome is not None and outcome.ending is Ending.POWER_OFF
    assert all(1000 * SECOND <= ticks <= 1000 * SECOND + 2000 for ticks in slept)


def run_two_harts(make_rig: MakeRig) -> list[tuple[int, int]]:
    def script(vcpu: ScriptedVcpu) -> Iterator[Exit]:
        vcpu.words[state.MIE] = MIP_SSIP
        if vcpu.index == 0:
            yield ecall(vcpu, Extension.HSM, 0, 1, board.RAM_BASE, 0)
            while rig.machine.harts[1].state != HartState.STARTED:
                yield Exit(ExitReason.BUDGET)
            yield ecall(vcpu, Extension.IPI, 0, 2, 0)
        for _ in range(50):
            while not vcpu.words[state.IPI_MAIL]:
                yield Exit(ExitReason.IDLE)
            vcpu.words[state.IPI_MAIL] = 0
            trace.append((vcpu.index, rig.machine.harts[vcpu.index].time_ticks()))
            yield ecall(vcpu, Extension.IPI, 0, 1, 1 - vcpu.index)
        while True:
            yield Exit(ExitReason.IDLE)

    trace: list[tuple[int, int]] = []
    rig = make_rig(script, cpus=2, clock=VirtualClock(), instructions_per_tick=10)
    RoundRobin(rig.machine).run(2_000_000)
    return trace


def test_the_same_run_twice(make_rig: MakeRig) -> None:
    first = run_two_harts(make_rig)
    assert len(first) == 100
    assert run_two_harts(make_rig) == first


def test_the_limit_and_going_on(make_rig: MakeRig) -> None:
    rig = make_rig(lambda vcpu: iter(()), clock=VirtualClock(), instructions_per_tick=10)
    turns = RoundRobin(rig.machine)
    assert turns.run(100_000) is None
    assert rig.machine.harts[0].retired() == 100_000
    assert turns.go_on(50_000) is None
    assert rig.machine.harts[0].retired() == 150_000
    assert rig.machine.time_ticks() == 15_000


def test_host_time_is_refused(make_rig: MakeRig) -> None:
    with pytest.raises(ConfigError):
        RoundRobin(make_rig(lambda vcpu: iter(())).machine)
