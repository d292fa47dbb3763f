# SPDX-License-Identifier: Apache-2.0
"""Programs that change their own code leave the same registers, memory, code and pc on both engines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from innkeeper.engines.jit import JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from tests.differential.engines.programs import describe
from tests.differential.engines.runner import BUDGET, CODE_PAGES, LEAF, EngineRunner
from tests.differential.engines.self_modifying import ALIAS_ADDRESS, CASES
from tests.differential.qemu.case import PAGE_BYTES, Case, Outcome, differences

READ_WRITE_USER = 0xD7
SLICES = [BUDGET, 5, 1]


class AliasRunner(EngineRunner):
    """Has the code's pages a second time, readable and writable."""

    def _make_tables(self) -> None:
        super()._make_tables()
        for index, page in enumerate(CODE_PAGES):
            entry = LEAF + 8 * ((ALIAS_ADDRESS >> 12) + index & 511)
            self._write64(entry, page >> 2 | READ_WRITE_USER)

    def run_one(self, case: Case) -> tuple[Outcome, bytes]:
        """The outcome, and the code as it became."""
        (outcome,) = self.run([case])
        return outcome, b"".join(self.ram.read(page, PAGE_BYTES) for page in CODE_PAGES)


@pytest.fixture(scope="module")
def runners() -> Iterator[list[AliasRunner]]:
    made = [AliasRunner(ReferenceEngine)]
    made += [AliasRunner(JitEngine, slice_budget=slice_budget) for slice_budget in SLICES]
    yield made
    for runner in made:
        runner.close()


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(case=CASES)
def test_changing_code(runners: list[AliasRunner], case: Case) -> None:
    reference, *others = runners
    expected, code = reference.run_one(case)
    for runner in others:
        actual, changed = runner.run_one(case)
        found = differences(expected, actual)
        if code != changed:
            found.append("the code became another")
        assert not found, f"{runner.name} in slices of {runner.slice_budget}:\n{describe(case)}\n{found}"
