# SPDX-License-Identifier: Apache-2.0
"""Random programs of all privilege levels leave the reference engine's state with regions forced."""

from __future__ import annotations

import random

from innkeeper.engines.jit import JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from innkeeper.isa.riscv import state
from innkeeper.spec.riscv import PAGE_BYTES
from tests.differential.engines.forced import RegionForcer
from tests.differential.engines.privileged import CODE, CODE_WORDS, PrivilegedCase, random_privileged
from tests.differential.engines.privileged_runner import PrivilegedRunner, different
from tests.differential.engines.test_random_privileged import EXCUSED_SHARE
from tests.unit.engines.jit.hostile import note

COUNT = 150
ENTRIES = 8


class ForcedPrivilegedRunner(PrivilegedRunner):
    """Forces one region around the start and some other places, the same for each slice budget."""

    engine: JitEngine

    def __init__(self, *, slice_budget: int) -> None:
        super().__init__(JitEngine, slice_budget=slice_budget)
        self.forcer = RegionForcer(self.engine)

    def before_run(self, case: PrivilegedCase) -> None:
        start = case.words[state.PC] % PAGE_BYTES
        source = random.Random(start)
        others = {2 * source.randrange(2 * CODE_WORDS) for _ in range(ENTRIES)}
        self.forcer.force(CODE, tuple(sorted({start, *others})))


def test_every_csr_agrees(seed: int) -> None:
    reference = [PrivilegedRunner(ReferenceEngine, slice_budget=budget) for budget in (7, 1)]
    forced = [ForcedPrivilegedRunner(slice_budget=budget) for budget in (7, 1)]
    noting = [note(runner.vcpu) for runner in reference]
    excused = 0
    for number in range(COUNT):
        case = random_privileged(random.Random(seed * 1_000_003 + number))
        for plain, runner, noted in zip(reference, forced, noting, strict=True):
            noted.clear()
            found = different(plain.run(case), runner.run(case))
            if found and noted.may_be_stale:
                excused += 1
                continue
            where = f"program {number}, slices of {runner.slice_budget}"
            assert not found, "\n".join([where, *found, *case.listing])
    assert excused <= 2 * EXCUSED_SHARE * COUNT
    for runner in forced:
        assert runner.forcer.entered > COUNT // 4
        runner.close()
    for plain in reference:
        plain.close()
