# SPDX-License-Identifier: Apache-2.0
"""Programs that change their own code leave the same registers, memory, code and pc on both engines.

Only one that stores into the fence.i behind its store may do as it likes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from innkeeper.engines.jit import JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from tests.differential.engines.alias_runner import AliasRunner
from tests.differential.engines.programs import describe
from tests.differential.engines.runner import BUDGET
from tests.differential.engines.self_modifying import CASES
from tests.differential.engines.unfenced import UnfencedRunner
from tests.differential.qemu.case import Case, differences

SLICES = [BUDGET, 5, 1]


@pytest.fixture(scope="module")
def unfenced() -> Iterator[UnfencedRunner]:
    runner = UnfencedRunner()
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def runners() -> Iterator[list[AliasRunner]]:
    made = [AliasRunner(ReferenceEngine)]
    made += [AliasRunner(JitEngine, slice_budget=slice_budget) for slice_budget in SLICES]
    yield made
    for runner in made:
        runner.close()


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(case=CASES)
def test_changing_code(runners: list[AliasRunner], unfenced: UnfencedRunner, case: Case) -> None:
    reference, *others = runners
    expected, code = reference.run_one(case)
    for runner in others:
        actual, changed = runner.run_one(case)
        found = differences(expected, actual)
        if code != changed:
            found.append("the code became another")
        text = f"{runner.name} in slices of {runner.slice_budget}:\n{describe(case)}\n{found}"
        assert not found or unfenced.executes_unfenced(case), text
