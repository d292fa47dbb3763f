# SPDX-License-Identifier: Apache-2.0
"""The bare-metal programs themselves: each runs to its end on QEMU and says the same twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from innkeeper.bench.programs import Program
from tests.differential.qemu.system import SystemOracle, SystemProgram, entries, programs


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.name)
def test_program_is_deterministic(
    program: SystemProgram, tmp_path: Path, qemu_system: Program, cross_compiler: Program
) -> None:
    elf = program.build(tmp_path)
    oracle = SystemOracle()
    signature = oracle.run(elf)
    last = entries(signature)[-1]
    lines = program.source.read_text().splitlines()
    assert lines[last.line - 1].strip() == "FINISH", f"ended early, at line {last.line}: {last}"
    assert program.mismatches(signature, oracle.run(elf)) == []


def test_mismatch_names_the_line(tmp_path: Path, qemu_system: Program, cross_compiler: Program) -> None:
    program = next(program for program in programs() if program.name == "csr")
    expected = SystemOracle().run(program.build(tmp_path))
    actual = bytearray(expected)
    actual[8] ^= 1
    (line,) = program.mismatches(expected, bytes(actual))
    assert "PROBE(mscratch, PATTERN)" in line
