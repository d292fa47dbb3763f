# SPDX-License-Identifier: Apache-2.0
"""Random programs give the same state on the reference engine, on the jit engine, and in QEMU user mode."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from innkeeper.bench.programs import Program
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from tests.differential.engines.programs import comparable_with_qemu, describe, random_case
from tests.differential.engines.runner import BUDGET, EngineRunner
from tests.differential.qemu.case import (
    CODE_ADDRESS,
    SCRATCH_ADDRESS,
    Case,
    CaseRunner,
    Ending,
    Outcome,
    differences,
)
from tests.differential.qemu.user import UserOracle
from tests.oracle.fixtures import *  # noqa: F403


@pytest.fixture(scope="module")
def reference() -> Iterator[EngineRunner]:
    runner = EngineRunner(ReferenceEngine)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def oracle(qemu_user: Program, cross_compiler: Program) -> Iterator[UserOracle]:
    with UserOracle() as made:
        yield made


def agree(cases: list[Case], one: CaseRunner, other: CaseRunner, seed: int) -> None:
    for case, expected, actual in zip(cases, one.run(cases), other.run(cases), strict=True):
        found = differences(expected, actual)
        assert not found, f"seed {seed}, {one.name} and {other.name} differ:\n{describe(case)}\n{found}"


def cases_of(seed: int, count: int) -> list[Case]:
    print(f"seed {seed}")
    source = random.Random(seed)
    return [random_case(source) for _ in range(count)]


@pytest.mark.parametrize("slice_budget", [BUDGET, 1, 7])
def test_reference_and_jit(reference: EngineRunner, slice_budget: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    jit = EngineRunner(JitEngine, slice_budget=slice_budget)
    agree(cases_of(seed, 8000 if slice_budget == BUDGET else 2000), reference, jit, seed)
    jit.close()


def is_wild(outcome: Outcome) -> bool:
    """Whether it ended with an access far from the pages of the case."""
    near = CODE_ADDRESS - 4096 <= outcome.address < SCRATCH_ADDRESS + 4 * 4096
    return outcome.ending in (Ending.SEGV, Ending.BUS) and not near


@pytest.mark.parametrize("engine", [ReferenceEngine, JitEngine], ids=["reference", "jit"])
def test_qemu_and_ours(oracle: UserOracle, engine: type) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    ours = EngineRunner(engine)
    cases = [case for case in cases_of(seed, 4000) if comparable_with_qemu(case)]
    # QEMU has memory of its own elsewhere (the very program that runs the cases): no wild accesses there.
    kept = [(c, o) for c, o in zip(cases, ours.run(cases), strict=True) if not is_wild(o)]
    for (case, actual), expected in zip(kept, oracle.run([c for c, _ in kept]), strict=True):
        found = differences(expected, actual)
        assert not found, f"seed {seed}, QEMU and {ours.name} differ:\n{describe(case)}\n{found}"
    ours.close()
