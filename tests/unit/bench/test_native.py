# SPDX-License-Identifier: Apache-2.0
"""The bare host as a side: what it runs, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from innkeeper.bench import native
from innkeeper.bench.native import NativeSide, has_same_program
from innkeeper.bench.programs import Program
from innkeeper.bench.side import GuestRun, TimedLine
from innkeeper.bench.workloads import COMMANDS, Workload
from innkeeper.errors import HostError


def workload(version: str | None) -> Workload:
    return Workload("python3_loop", "cpu", "python3 -c 1", "debian", "python3", version)


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ("3.13.5", "3.13", True),
        ("3.11.2", "3.13", False),
        ("3.1", "3.13", False),
        ("3.13", "3.13", True),
        ("unknown", "3.13", False),
        ("unknown", None, True),
    ],
)
def test_the_version_has_to_agree(found: str, wanted: str | None, same: bool) -> None:
    assert has_same_program(workload(wanted), lambda name: Program(Path("/x"), found)) is same


def test_a_program_that_is_not_there_is_not_the_same() -> None:
    assert not has_same_program(workload(None), lambda name: None)
    gcc = next(each for each in COMMANDS if each.name == "gcc")
    assert not has_same_program(gcc, lambda name: Program(Path("/x"), "14.2"))


def guest(*arguments: str) -> GuestRun:
    return GuestRun(
        image="small",
        kernel=Path("/nothing"),
        initrd=b"",
        append="",
        root_disk=None,
        command=("/innkeeper/bench", "2", *arguments),
        cpus=1,
        memory_bytes=1 << 30,
        timeout_s=60,
    )


@pytest.fixture
def side(monkeypatch: pytest.MonkeyPatch) -> NativeSide:
    """One whose program is a shell script that prints what it is asked for."""

    def write_script(compiler: Path, flags: object, output: Path) -> None:
        output.write_text(
            "#!/bin/sh\necho innkeeper-bench start\nshift\n"
            'for one; do echo "innkeeper-bench result ${one%%=*} 5 aa"; done\n'
            "echo innkeeper-bench failed x 1\necho innkeeper-bench end\n"
        )
        output.chmod(0o755)

    monkeypatch.setattr(native, "compile_with", write_script)
    known = {"cc": "12.2.0", "bash": "5.1.4", "dash": "unknown"}
    return NativeSide(lambda name: Program(Path(f"/bin/{name}"), known[name]) if name in known else None)


def test_it_runs_what_the_host_has(side: NativeSide) -> None:
    lines: list[TimedLine] = []
    commands = [each.argument for each in COMMANDS]
    side.run(guest("sieve", *commands, "unheard_of"), lines.append)
    assert [line.text for line in lines] == [
        "innkeeper-bench result sieve 5 aa",
        "innkeeper-bench result shell_forks 5 aa",
        "innkeeper-bench end",
    ]


def test_with_nothing_to_run_it_ends(side: NativeSide) -> None:
    lines: list[TimedLine] = []
    side.run(guest("gcc=gcc x.c"), lines.append)
    assert [line.text for line in lines] == ["innkeeper-bench end"]


def test_without_a_compiler_it_says_so() -> None:
    with pytest.raises(HostError, match="no C compiler"):
        NativeSide(lambda name: None)
