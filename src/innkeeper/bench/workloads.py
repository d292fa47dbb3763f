# SPDX-License-Identifier: Apache-2.0
"""The workloads: which there are, what bounds each, and the guest program, compiled for riscv64."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

from innkeeper.bench.programs import CROSS_COMPILER, require_program
from innkeeper.errors import ConfigError, HostError
from innkeeper.images.cpio import Writer

SOURCES = Path(__file__).with_name("workload_sources")
COMPILER_FLAGS = ("-O2", "-static", "-ffp-contract=off", "-Wall")
"""The same for every machine: no fused operations, so that sums agree to the last bit."""
GUEST_PATH = {
    "small": "/innkeeper/bench",
    "debian": "/run/innkeeper/bench",
    "build": "/run/innkeeper/bench",
}
"""Where the program lies in each image; the initramfs copies its folder when it hands over to a disk."""
GCC_SOURCES = ("regular_expression.c", "workload.h")
"""What gcc compiles in the guest; beside the program."""

Kind = Literal["cpu", "float", "os"]
"""What bounds a workload: the processor; the processor in linear algebra of double precision, which counts as
cpu too; the guest's operating system."""


@dataclass(frozen=True)
class Workload:
    """One workload: compiled into the program where `command` is None, else a command of `image`."""

    name: str
    kind: Kind
    command: str | None = None
    image: str = "small"
    program: str | None = None
    """The program that the command is about. The host's own is measured if it is the same, which is:"""
    version: str | None = None
    """The image's version of it, as far as it has to agree; None if any will do."""

    @property
    def argument(self) -> str:
        """What tells the guest's program to run it."""
        return self.name if self.command is None else f"{self.name}={self.command}"


PYTHON_SUM = "print(sum(i*i for i in range(300000)))"
BASH_SUM = "for ((i = 0; i < 20000; i++)); do ((s += i * i)); done; echo $s"
THOUSAND_FORKS = "i=0; while [ $i -lt 1000 ]; do ( : ); i=$((i + 1)); done; echo $i"
COMMANDS = (
    Workload("python3_loop", "cpu", f"python3 -c '{PYTHON_SUM}'", "debian", "python3", "3.13"),
    Workload("gzip", "cpu", "seq 400000 | gzip -9n | gzip -dc | tail -n 1", "debian", "gzip", "1.13"),
    Workload("python3_start", "os", "python3 -c pass", "debian", "python3", "3.13"),
    Workload("bash_loop", "os", f"bash -c '{BASH_SUM}'", "debian", "bash", "5.2"),
    Workload("shell_forks", "os", f"dash -c '{THOUSAND_FORKS}'", "debian", "dash"),
    Workload("gcc", "os", f"gcc -O1 -S -o - /run/innkeeper/{GCC_SOURCES[0]}", "build"),
)
"""Measured with the image's own programs. gcc has no host's time: the host's compiles for another machine."""


@cache
def all_workloads() -> tuple[Workload, ...]:
    """Every workload in the order of running: those of the program as its table says, then the commands."""
    table = re.findall(r"DO\((\w+), \d+, (CPU|FLOAT|OS)\)", (SOURCES / "runner.c").read_text())
    return (*(Workload(name, cast(Kind, kind.lower())) for name, kind in table), *COMMANDS)


def select(only: Sequence[str] | None) -> list[Workload]:
    """The workloads called `only`, or all, in the order of running. ConfigError for an unknown name."""
    names = [workload.name for workload in all_workloads()]
    for name in only or ():
        if name not in names:
            raise ConfigError(f"there is no workload {name!r}", f"choose from {', '.join(names)}")
    return [workload for workload in all_workloads() if only is None or workload.name in only]


def compile_with(compiler: Path, flags: Sequence[str], output: Path) -> None:
    """Compile the program to `output`. HostError with the compiler's last line if that fails."""
    sources = sorted(str(path) for path in SOURCES.glob("*.c"))
    command = [str(compiler), *COMPILER_FLAGS, *flags, *sources, "-lm", "-o", str(output)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode != 0:
        last = completed.stderr.strip().rpartition("\n")[2]
        raise HostError(f"{compiler.name} cannot build the workloads: {last}", "install its static C library")


def compile_program() -> bytes:
    """The guest program, a static riscv64 ELF. HostError if the cross compiler is missing or fails."""
    compiler = require_program(CROSS_COMPILER)
    with tempfile.TemporaryDirectory(prefix="innkeeper-bench-") as folder:
        output = Path(folder) / "bench"
        compile_with(compiler.path, ["-s"], output)
        return output.read_bytes()


def workload_archive(program: bytes) -> bytes:
    """The guest program, and what its commands read, as an archive to append to an initrd."""
    writer = Writer()
    path = GUEST_PATH["small"].lstrip("/")
    writer.file(path, program, 0o755)
    for name in GCC_SOURCES:
        writer.file(str(Path(path).with_name(name)), (SOURCES / name).read_bytes(), 0o644)
    return writer.archive()
