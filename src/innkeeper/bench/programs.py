# SPDX-License-Identifier: Apache-2.0
"""The foreign programs that the benchmark and the tests' oracles start: where they are, which version."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from innkeeper.errors import HostError

QEMU_SYSTEM = "qemu-system-riscv64"
QEMU_USER = "qemu-riscv64"
CROSS_COMPILER = "riscv64-linux-gnu-gcc"
CROSS_OBJDUMP = "riscv64-linux-gnu-objdump"

PACKAGE_OF = {
    QEMU_SYSTEM: "qemu-system-riscv (or qemu-system-misc), 10 or newer",
    QEMU_USER: "qemu-user, 10 or newer",
    CROSS_COMPILER: "gcc-riscv64-linux-gnu and libc6-dev-riscv64-cross",
    CROSS_OBJDUMP: "binutils-riscv64-linux-gnu",
}
"""Debian package that brings each program."""


@dataclass(frozen=True)
class Program:
    """A program of the host: its path and the version that it states."""

    path: Path
    version: str

    @property
    def version_tuple(self) -> tuple[int, ...]:
        """The numbers of `version`: (10, 0, 2) for "10.0.2"."""
        return tuple(int(number) for number in re.findall(r"\d+", self.version))


@cache
def find_program(name: str) -> Program | None:
    """The program `name` on PATH, or None. Its version is the last dotted number in `--version`'s first line
    that stands outside parentheses."""
    path = shutil.which(name)
    if path is None:
        return None
    output = subprocess.run(
        [path, "--version"], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    first_line = re.sub(r"\([^)]*\)", "", output.partition("\n")[0])
    numbers = re.findall(r"\d+(?:\.\d+)+", first_line)
    return Program(Path(path), numbers[-1] if numbers else "unknown")


def require_program(name: str) -> Program:
    """The program `name`; HostError with the package to install if it is not there."""
    program = find_program(name)
    if program is None:
        raise HostError(f"{name} is not installed", f"install Debian's {PACKAGE_OF.get(name, name)}")
    return program
