# SPDX-License-Identifier: Apache-2.0
"""The table of workloads, and the program that is made from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from innkeeper.bench.programs import find_program
from innkeeper.bench.workloads import (
    COMMANDS,
    GUEST_PATH,
    SOURCES,
    all_workloads,
    compile_with,
    select,
    workload_archive,
)
from innkeeper.errors import ConfigError, HostError


def test_every_listed_workload_has_a_source() -> None:
    names = [each.name for each in all_workloads() if each.command is None]
    assert len(names) == len(set(names)) >= 20
    assert set(names) == {path.stem for path in SOURCES.glob("*.c")} - {"runner"}


def test_every_kind_is_there() -> None:
    kinds = {each.kind: each.name for each in all_workloads()}
    assert set(kinds) == {"cpu", "float", "os"}
    assert {each.image for each in COMMANDS} <= set(GUEST_PATH)


def test_names_of_commands_can_be_told_from_the_command() -> None:
    for each in COMMANDS:
        assert each.command is not None
        assert each.argument.partition("=")[::2] == (each.name, each.command)
        assert each.name.isidentifier() and "'" not in each.command.replace("'", "", 2)


def test_selection_keeps_the_order_of_running() -> None:
    assert [each.name for each in select(["gcc", "fork_exec", "sieve"])] == ["sieve", "fork_exec", "gcc"]
    with pytest.raises(ConfigError, match="no workload 'sleep'"):
        select(["sleep"])


def test_archive_holds_what_gcc_compiles() -> None:
    archive = workload_archive(b"\x7fELF")
    assert b"innkeeper/bench\0" in archive and b"innkeeper/regular_expression.c\0" in archive


@pytest.mark.skipif(find_program("cc") is None, reason="there is no C compiler")
def test_the_program_runs_on_the_host_and_sums_agree(tmp_path: Path) -> None:
    compiler = find_program("cc")
    assert compiler is not None
    program = tmp_path / "bench"
    compile_with(compiler.path, ["-Werror"], program)
    command = [str(program), "2", "regular_expression", "linear_solve", "context_switch", "fork_exec"]
    lines = subprocess.run(
        [*command, "pipe_throughput", "said=echo hello"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert (lines[0], lines[-1]) == ("innkeeper-bench start", "innkeeper-bench end")
    results = [line.split() for line in lines[1:-1]]
    assert len(results) == 12 and all(words[1] == "result" for words in results)
    assert len({(words[2], words[4]) for words in results}) == 6


def test_a_compiler_that_fails_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot build the workloads"):
        compile_with(Path("/bin/false"), [], tmp_path / "bench")
