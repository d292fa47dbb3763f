# SPDX-License-Identifier: Apache-2.0
"""Pytest fixtures for the outside oracles that `tests/oracle/install` installs.

A missing one skips the test with the reason; where CI=true it fails instead.
Import the fixtures into a conftest.py: `from tests.oracle.fixtures import *`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from innkeeper.bench.programs import (
    CROSS_COMPILER,
    CROSS_OBJDUMP,
    QEMU_SYSTEM,
    QEMU_USER,
    Program,
    find_program,
)

__all__ = ["cross_compiler", "cross_objdump", "opensbi_jump", "qemu_system", "qemu_user"]

QEMU_MAJOR_MINIMUM = 10
OPENSBI_JUMP = Path("/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_jump.elf")
REMEDY = "run tests/oracle/install"


def unavailable(reason: str) -> None:
    """Skip the running test, or fail it where CI=true."""
    message = f"{reason}; {REMEDY}"
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(message)
    pytest.skip(message)


def oracle(name: str, major_minimum: int = 0) -> Program:
    """The program, at least of that major version; otherwise the test is skipped or failed."""
    program = find_program(name)
    if program is None:
        unavailable(f"{name} is not installed")
    assert program is not None
    if program.version_tuple < (major_minimum,):
        unavailable(f"{name} is version {program.version}, needed is {major_minimum}")
    return program


@pytest.fixture(scope="session")
def qemu_system() -> Program:
    """qemu-system-riscv64, 10 or newer."""
    return oracle(QEMU_SYSTEM, QEMU_MAJOR_MINIMUM)


@pytest.fixture(scope="session")
def qemu_user() -> Program:
    """qemu-riscv64 (user mode), 10 or newer."""
    return oracle(QEMU_USER, QEMU_MAJOR_MINIMUM)


@pytest.fixture(scope="session")
def cross_compiler() -> Program:
    """riscv64-linux-gnu-gcc."""
    return oracle(CROSS_COMPILER)


@pytest.fixture(scope="session")
def cross_objdump() -> Program:
    """riscv64-linux-gnu-objdump."""
    return oracle(CROSS_OBJDUMP)


@pytest.fixture(scope="session")
def opensbi_jump() -> Path:
    """OpenSBI's fw_jump for the `virt` board."""
    if not OPENSBI_JUMP.exists():
        unavailable(f"{OPENSBI_JUMP} is missing")
    return OPENSBI_JUMP
