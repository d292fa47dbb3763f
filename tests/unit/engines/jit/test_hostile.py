# SPDX-License-Identifier: Apache-2.0
"""Hostile guests: both engines do the same, and the guest writes nothing but its RAM."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest

from innkeeper.codegen import layout as at
from innkeeper.engines.engine import ExitReason
from innkeeper.engines.jit.engine import AreaSizes, JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from innkeeper.isa.riscv import state
from tests.unit.engines.jit.hostile import Cases, Hart, differences, note
from tests.unit.runtime.guest import BASE, GuardedRam

STEPS = 40
JOIN_TIMEOUT_S = 120
LONG_RUN = 1500
MOST = 4000
"""Below the instructions after which the reference engine looks for interrupts again."""


def small_areas(ram: GuardedRam) -> JitEngine:
    return JitEngine(ram, sizes=AreaSizes(2 * at.BLOCK_CODE_BYTES, 2 * at.BLOCK_DATA_BYTES, 4))


@pytest.fixture
def harts() -> Iterator[tuple[Hart, Hart]]:
    pair = Hart(ReferenceEngine), Hart(JitEngine)
    yield pair
    for hart in pair:
        assert hart.ram.intact
        hart.close()


def one_run(harts: tuple[Hart, Hart], budget: int, rng: random.Random, what: str) -> ExitReason:
    """Run both, compare how they left, answer both the same."""
    left = [hart.vcpu.run(budget) for hart in harts]
    assert left[0] == left[1], f"{what}: {left}"
    kind, value = rng.random(), rng.getrandbits(64)
    for hart, one in zip(harts, left, strict=True):
        hart.answer(one, kind, value)
    return left[0].reason


def test_every_single_instruction(harts: tuple[Hart, Hart], rng: random.Random) -> None:
    """With everything forgotten between two instructions nothing is stale: the engines agree whatever the
    guest writes to its code and tables."""
    reasons: set[ExitReason] = set()
    cases = Cases(rng)
    for number in range(1000):
        case = cases.make()
        for hart in harts:
            hart.load(case)
        for step in range(STEPS):
            pc = harts[0].words[state.PC]
            for hart in harts:
                hart.vcpu.flush()
            what = f"case {number}, step {step}, pc {pc:#x}"
            reasons.add(one_run(harts, 1, rng, what))
            assert harts[0].state() == harts[1].state(), f"{what}: {differences(*harts)}"
        assert not differences(*harts), f"case {number}: {differences(*harts)}"
        assert harts[1].ram.intact, f"case {number}"
    assert reasons >= {ExitReason.BUDGET, ExitReason.MMIO_READ, ExitReason.MMIO_WRITE}


def test_long_runs(harts: tuple[Hart, Hart], rng: random.Random) -> None:
    """As long as the guest writes to no page that a hart may have cached, the engines agree."""
    assert long_runs(harts, Cases(rng), 200) > 100


def long_runs(harts: tuple[Hart, Hart], cases: Cases, count: int) -> int:
    """Run and compare `count` cases; how many comparisons that were."""
    noting, rng = note(harts[0].vcpu), cases.rng
    compared = 0
    for number in range(count):
        case = cases.make()
        for hart in harts:
            hart.load(case)
        noting.clear()
        start = harts[0].words[state.INSTRET]
        while not noting.may_be_stale and harts[0].words[state.INSTRET] - start < LONG_RUN:
            lines, level = rng.choice([1 << 9, 1 << 11, 1 << 3, 1 << 7]), rng.randrange(2)
            for hart in harts:
                hart.vcpu.set_interrupt(lines, level)
            budget = rng.choice([1, 2, 63, 64, 65, MOST])
            what = f"case {number} at {harts[0].words[state.INSTRET]}"
            left = [hart.vcpu.run(budget) for hart in harts]
            if noting.may_be_stale:
                break
            assert left[0] == left[1], f"{what}: {left} {differences(*harts)}"
            kind, value = rng.random(), rng.getrandbits(64)
            for hart, one in zip(harts, left, strict=True):
                hart.answer(one, kind, value)
            compared += 1
            assert not differences(*harts), f"{what}: {differences(*harts)}"
        assert harts[1].ram.intact, f"case {number}"
    return compared


def test_jit_alone_survives(rng: random.Random) -> None:
    """Many guests for as long as they like, stale or not: the host is unharmed and gets every exit."""
    hart, cases = Hart(JitEngine), Cases(rng)
    for number in range(200):
        hart.load(cases.make())
        for _ in range(20):
            left = hart.vcpu.run(rng.choice([100, 1000, 10_000]))
            assert left.reason not in (ExitReason.ERROR, ExitReason.INTERRUPTED), number
            hart.answer(left, rng.random(), rng.getrandbits(64))
            assert hart.words[state.X] == 0
            assert hart.words[state.PRIV] in (0, 1, 3)
            assert hart.words[state.PC] & 1 == 0
        assert hart.ram.intact, f"case {number}"
    hart.close()


def test_harts_of_a_hostile_guest_survive_each_other(rng: random.Random) -> None:
    """Two harts run the same arbitrary guest at the same time, with little room for code, and fence each
    other."""
    hart = Hart(small_areas)
    hart.engine.create_vcpu(1, ecall_exits=True)
    vcpus, cases = hart.engine.vcpus, Cases(rng)
    for number in range(60):
        case = cases.make()
        hart.load(case)
        seeds = [rng.getrandbits(32) for _ in vcpus]
        vcpus[1].reset(BASE, case.privilege, 0, 0)
        for index, value in case.words.items():
            vcpus[1].words[index] = value
        vcpus[1].words[state.PC] = case.words[state.STVEC]
        vcpus[1].flush()

        def run(index: int, seed: int) -> None:
            mine, vcpu = random.Random(seed), vcpus[index]
            for _ in range(10):
                hart.answer_on(vcpu, vcpu.run(mine.choice([100, 3000])), mine.random(), mine.getrandbits(64))
                hart.engine.remote_fence(3 ^ 1 << index, instruction=True)

        threads = [threading.Thread(target=run, args=(i, s)) for i, s in enumerate(seeds)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(JOIN_TIMEOUT_S)
            assert not thread.is_alive(), number
        assert hart.ram.intact, number
    assert hart.engine.statistics()["code_flushes"] > 10
    hart.close()
