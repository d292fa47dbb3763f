# SPDX-License-Identifier: Apache-2.0
"""The bare host beside the guests: the same sources compiled by its own compiler, run by the same runner."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from innkeeper.bench.programs import Program, find_program
from innkeeper.bench.results import PREFIX
from innkeeper.bench.side import CodeCacheState, GuestRun, TimedLine
from innkeeper.bench.workloads import Workload, all_workloads, compile_with
from innkeeper.errors import HostError

COMPILER = "cc"
REAL_PYTHON = "import sys; print(getattr(sys, '_base_executable', sys.executable))"
FindProgram = Callable[[str], Program | None]


class NativeSide:
    """Runs what the host can run of a guest's workloads. HostError if it cannot compile them.

    There is no boot here, and what fails is left out: the bare host is not what is measured.
    """

    name = "native"
    code_cache: CodeCacheState = ""

    def __init__(self, find: FindProgram = find_program) -> None:
        compiler = find(COMPILER)
        if compiler is None:
            raise HostError(f"there is no C compiler ({COMPILER})", "install Debian's gcc and libc6-dev")
        self.version = f"native ({COMPILER} {compiler.version})"
        self._find = find
        self._folder = tempfile.TemporaryDirectory(prefix="innkeeper-bench-")
        self._program = Path(self._folder.name) / "bench"
        compile_with(compiler.path, [], self._program)

    def run(self, guest: GuestRun, on_line: Callable[[TimedLine], None]) -> None:
        """See `innkeeper.bench.side.Side`; the start is not handed on, for nothing has booted."""
        _, rounds, *arguments = guest.command
        wanted = [argument for argument in arguments if self._can_run(argument)]
        lines = [f"{PREFIX}end"]
        if wanted:
            lines = self._output([str(self._program), rounds, *wanted], guest.timeout_s)
        for line in lines:
            if not line.startswith((f"{PREFIX}start", f"{PREFIX}failed")):
                on_line(TimedLine(line, 0))

    def _can_run(self, argument: str) -> bool:
        name = argument.partition("=")[0]
        workload = next((each for each in all_workloads() if each.name == name), None)
        if workload is None or workload.command is None:
            return workload is not None
        return has_same_program(workload, self._find)

    def _output(self, command: Sequence[str], timeout_s: float) -> list[str]:
        try:
            completed = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=True,
                env=os.environ | {"PATH": _path(self._find)},
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise HostError(f"the workloads do not run on the host itself: {error}") from error
        return completed.stdout.splitlines()


def has_same_program(workload: Workload, find: FindProgram = find_program) -> bool:
    """Whether the host has the program that a command is about, and in the same version where that counts."""
    found = find(workload.program) if workload.program else None
    if found is None or workload.version is None:
        return found is not None
    wanted = tuple(int(number) for number in workload.version.split("."))
    return found.version_tuple[: len(wanted)] == wanted


def _path(find: FindProgram) -> str:
    """PATH with the folder of Python itself first: `python3` may be a script that looks for it."""
    path = os.environ.get("PATH", os.defpath)
    python = find("python3")
    if python is None:
        return path
    told = subprocess.run(
        [str(python.path), "-c", REAL_PYTHON], capture_output=True, text=True, timeout=60, check=False
    )
    real = Path(told.stdout.strip())
    return f"{real.parent}{os.pathsep}{path}" if real.is_absolute() else path
