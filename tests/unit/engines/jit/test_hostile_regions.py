# SPDX-License-Identifier: Apache-2.0
"""Hostile guests with regions forced in the pages of their code, at random."""

from __future__ import annotations

import random
import threading

from innkeeper.engines.engine import ExitReason
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from innkeeper.isa.riscv import state
from tests.differential.engines.forced import RegionForcer
from tests.unit.engines.jit.hostile import CODE_PAGES, Case, Cases, Hart
from tests.unit.engines.jit.test_hostile import JOIN_TIMEOUT_S, long_runs
from tests.unit.runtime.guest import BASE, PAGE

ENTRIES = 12


def entries_of(page: bytes) -> tuple[int, ...]:
    """Where the region of a page is entered."""
    return tuple(sorted(random.Random(page).sample(range(0, PAGE, 4), ENTRIES)))


class ForcedCases(Cases):
    """Begin, and take traps, where regions are entered."""

    def make(self) -> Case:
        case = super().make()
        for pointer in (state.PC, state.STVEC, state.MTVEC, state.SEPC, state.MEPC):
            start = case.words[pointer] - BASE & -PAGE
            if start // PAGE in CODE_PAGES:
                page = bytes(case.memory[start : start + PAGE])
                case.words[pointer] = BASE + start + self.rng.choice(entries_of(page))
        return case


class ForcedHart(Hart):
    """Loads a case together with regions in some of its pages of code: the same ones wherever that code is,
    so that it is compiled once."""

    def __init__(self) -> None:
        super().__init__(JitEngine)
        self.forcer = RegionForcer(self.engine)

    def load(self, case: Case) -> None:
        super().load(case)
        start = case.words[state.PC] - BASE
        for number in {start // PAGE, *random.Random(start).sample(CODE_PAGES, 3)}:
            self.force(number)

    def force(self, number: int) -> None:
        address = BASE + number * PAGE
        self.forcer.force(address, entries_of(self.ram.read(address, PAGE)))

    def close(self) -> None:
        super().close()
        self.forcer.close()


def test_long_runs(rng: random.Random) -> None:
    harts = Hart(ReferenceEngine), ForcedHart()
    assert long_runs(harts, ForcedCases(rng), 100) > 50
    assert harts[1].forcer.installed > 100
    assert harts[1].forcer.entered > 50
    for hart in harts:
        assert hart.ram.intact
        hart.close()


def test_regions_come_while_it_runs(rng: random.Random) -> None:
    """Stale or not: the host is unharmed, and gets every exit."""
    hart, cases = ForcedHart(), ForcedCases(rng)
    stop, seed = threading.Event(), rng.getrandbits(32)

    def disturb() -> None:
        mine = random.Random(seed)
        while not stop.wait(0.0005):
            hart.force(mine.choice(CODE_PAGES))
            hart.engine.memory_written(BASE + mine.choice(CODE_PAGES) * PAGE, PAGE)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for number in range(40):
            hart.load(cases.make())
            for _ in range(20):
                left = hart.vcpu.run(rng.choice([100, 1000, 10_000]))
                assert left.reason not in (ExitReason.ERROR, ExitReason.INTERRUPTED), number
                hart.answer(left, rng.random(), rng.getrandbits(64))
                assert hart.words[state.X] == 0
                assert hart.words[state.PC] & 1 == 0
            assert hart.ram.intact, number
    finally:
        stop.set()
        thread.join(JOIN_TIMEOUT_S)
    assert hart.forcer.entered > 0
    hart.close()
