# SPDX-License-Identifier: Apache-2.0
"""The optimising tier, forced on, gives the state that the reference engine gives."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings

from innkeeper.engines.reference.engine import ReferenceEngine
from tests.differential.engines.alias_runner import AliasRunner
from tests.differential.engines.forced_runner import ForcedRunner
from tests.differential.engines.programs import describe, random_case
from tests.differential.engines.runner import BUDGET, EngineRunner
from tests.differential.engines.self_modifying import CASES
from tests.differential.engines.unfenced import UnfencedRunner
from tests.differential.qemu.case import Case, differences

COUNT = 500
ENTERED_SHARE = 0.4
"""Of random cases: others begin with what no region holds, or cross their page's end."""


@pytest.fixture
def forced() -> list[ForcedRunner]:
    return [ForcedRunner(slice_budget=budget) for budget in (BUDGET, 1, 7, 0)]


def test_random_programs(forced: list[ForcedRunner], rng: random.Random) -> None:
    """Slices of all, of 1, of 7 and of random length."""
    reference = EngineRunner(ReferenceEngine)
    for _ in range(COUNT):
        case = random_case(rng)
        (expected,) = reference.run([case])
        forced[-1].slice_budget = rng.randrange(1, 40)
        for runner in forced:
            (actual,) = runner.run([case])
            found = differences(expected, actual)
            assert not found, f"slices of {runner.slice_budget}:\n{describe(case)}\n{found}"
    for runner in forced:
        assert runner.forcer.entered > ENTERED_SHARE * COUNT
        runner.close()
    reference.close()


class AliasForcedRunner(AliasRunner, ForcedRunner):
    """With the code's pages a second time, writable."""

    def __init__(self, *, slice_budget: int = BUDGET, late: bool = False) -> None:
        ForcedRunner.__init__(self, slice_budget=slice_budget, late=late)


def test_changing_code() -> None:
    reference, unfenced = AliasRunner(ReferenceEngine), UnfencedRunner()
    forced = [AliasForcedRunner(slice_budget=budget) for budget in (BUDGET, 1)]
    forced.append(AliasForcedRunner(slice_budget=5, late=True))

    @settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
    @given(case=CASES)
    def agree(case: Case) -> None:
        expected, code = reference.run_one(case)
        for runner in forced:
            actual, changed = runner.run_one(case)
            found = differences(expected, actual)
            if code != changed:
                found.append("the code became another")
            text = f"in slices of {runner.slice_budget}:\n{describe(case)}\n{found}"
            assert not found or unfenced.executes_unfenced(case), text

    agree()
    counts = [runner.forcer.entered for runner in forced]
    assert min(counts) > 20, counts
    for runner in [reference, unfenced, *forced]:
        runner.close()
