# SPDX-License-Identifier: Apache-2.0
"""The bare-metal programs record on both engines what they record on QEMU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from innkeeper.bench.programs import Program
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from tests.differential.engines.forced_system import ForcedSystemEngine
from tests.differential.engines.system_runner import EngineSystemRunner
from tests.differential.qemu.system import SystemOracle, SystemProgram, programs
from tests.oracle.fixtures import *  # noqa: F403

ENGINES = {"reference": ReferenceEngine, "jit": JitEngine, "regions": ForcedSystemEngine}


@pytest.fixture(scope="session")
def expected(
    tmp_path_factory: pytest.TempPathFactory, qemu_system: Program, cross_compiler: Program
) -> Callable[[SystemProgram], tuple[Path, bytes]]:
    """A program's ELF and what QEMU says to it, made when they are first asked for."""
    folder = tmp_path_factory.mktemp("programs")
    oracle = SystemOracle()

    @cache
    def of(program: SystemProgram) -> tuple[Path, bytes]:
        elf = program.build(folder)
        return elf, oracle.run(elf)

    return of


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.name)
@pytest.mark.parametrize("engine", list(ENGINES))
def test_program_as_on_qemu(
    program: SystemProgram, engine: str, expected: Callable[[SystemProgram], tuple[Path, bytes]]
) -> None:
    elf, signature = expected(program)
    runner = EngineSystemRunner(engine, ENGINES[engine])
    entered = ForcedSystemEngine.entered
    assert program.mismatches(signature, runner.run(elf)) == []
    assert engine != "regions" or ForcedSystemEngine.entered > entered
