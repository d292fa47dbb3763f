# SPDX-License-Identifier: Apache-2.0
"""Random bare-metal programs record on both engines what they record on QEMU."""

from __future__ import annotations

from pathlib import Path

import pytest

from innkeeper.bench.programs import Program
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from tests.differential.engines.forced_system import ForcedSystemEngine
from tests.differential.engines.system_runner import EngineSystemRunner
from tests.differential.qemu.random_system import random_program
from tests.differential.qemu.system import SystemOracle, entries
from tests.oracle.fixtures import *  # noqa: F403

ENGINES = {"reference": ReferenceEngine, "jit": JitEngine, "regions": ForcedSystemEngine}
RUNNERS = [EngineSystemRunner(name, engine) for name, engine in ENGINES.items()]


@pytest.mark.parametrize("number", range(4))
def test_random_program_as_on_qemu(
    number: int, seed: int, tmp_path: Path, qemu_system: Program, cross_compiler: Program
) -> None:
    program = random_program(seed + number, tmp_path)
    elf = program.build(tmp_path)
    signature = SystemOracle().run(elf)
    last = program.source.read_text().splitlines()[entries(signature)[-1].line - 1]
    assert last.strip() == "FINISH", f"ended early, at {last!r}"
    for runner in RUNNERS:
        assert program.mismatches(signature, runner.run(elf)) == [], f"seed {seed + number}, {runner.name}"
