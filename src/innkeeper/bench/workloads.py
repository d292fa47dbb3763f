# SPDX-License-Identifier: Apache-2.0
"""The workloads: which there are, and the guest program that holds them, compiled for riscv64."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from innkeeper.bench.programs import CROSS_COMPILER, require_program
from innkeeper.errors import ConfigError, HostError
from innkeeper.images.cpio import Writer

SOURCES = Path(__file__).with_name("workload_sources")
COMPILER_FLAGS = ("-O2", "-static", "-ffp-contract=off", "-Wall")
GUEST_PATH = {"small": "/innkeeper/bench", "debian": "/run/innkeeper/bench"}
"""Where the program lies in each image; the initramfs copies its folder when it hands over to a disk."""

PYTHON_SUM = "print(sum(i * i for i in range(10 ** 6)))"
DEBIAN_COMMANDS = {
    "python3_start": "for i in 1 2 3; do python3 -c 'import json; print(json.dumps([1]))'; done",
    "python3_loop": f"python3 -c '{PYTHON_SUM}'",
    "gzip": "head -c 3000000 /usr/bin/python3 | gzip -9n | wc -c",
}
"""Measured in the `debian` image, with its own programs."""


def compiled_names() -> list[str]:
    """The workloads of the guest program, in the order in which it runs them."""
    table = re.findall(r"DO\((\w+), \d+\)", (SOURCES / "runner.c").read_text())
    return list(table)


def select(only: list[str] | None) -> tuple[list[str], dict[str, str]]:
    """The compiled workloads and the Debian commands to run. ConfigError for a name that does not exist."""
    compiled = compiled_names()
    if only is None:
        return compiled, dict(DEBIAN_COMMANDS)
    unknown = [name for name in only if name not in compiled and name not in DEBIAN_COMMANDS]
    if unknown:
        known = ", ".join([*compiled, *DEBIAN_COMMANDS])
        raise ConfigError(f"there is no workload {unknown[0]!r}", f"choose from {known}")
    chosen = {name: command for name, command in DEBIAN_COMMANDS.items() if name in only}
    return [name for name in compiled if name in only], chosen


def compile_program() -> bytes:
    """The guest program, a static riscv64 ELF. HostError if the cross compiler is missing or fails."""
    compiler = require_program(CROSS_COMPILER)
    with tempfile.TemporaryDirectory(prefix="innkeeper-bench-") as folder:
        output = Path(folder) / "bench"
        sources = sorted(str(path) for path in SOURCES.glob("*.c"))
        command = [str(compiler.path), *COMPILER_FLAGS, *sources, "-lm", "-s", "-o", str(output)]
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
        if completed.returncode != 0:
            last = completed.stderr.strip().rpartition("\n")[2]
            raise HostError(
                f"{CROSS_COMPILER} cannot build the workloads: {last}", "install libc6-dev-riscv64-cross"
            )
        return output.read_bytes()


def workload_archive(program: bytes) -> bytes:
    """The guest program as an archive to append to an initrd."""
    writer = Writer()
    writer.file(GUEST_PATH["small"].lstrip("/"), program, 0o755)
    return writer.archive()
