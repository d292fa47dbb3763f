# SPDX-License-Identifier: Apache-2.0
"""QEMU user mode as an oracle for user-level instructions: thousands of cases a second in one process."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from innkeeper.bench.programs import CROSS_COMPILER, QEMU_USER, require_program

from .case import (
    CODE_ADDRESS,
    CODE_BYTES,
    SCRATCH_ADDRESS,
    SCRATCH_BYTES,
    Case,
    Ending,
    Outcome,
)
from .isa import qemu_cpu

SOURCE = Path(__file__).with_name("user_runner.c")
CASE_LIMIT_US = 1_000_000
"""Processor time after which a case ends with TIMEOUT."""
BATCH_TIMEOUT_S = 600

_CASE = struct.Struct("<IIII32Q32QQ")
_OUTCOME = struct.Struct("<IIIIQQ32Q32QQ")

COMPILER_FLAGS = [
    *("-O2", "-static", "-nostdlib", "-ffreestanding", "-Wall", "-Wextra", "-Werror"),
    *("-march=rv64imac_zicsr_zifencei", "-mabi=lp64", "-mno-relax", "-mcmodel=medany"),
    *("-fno-stack-protector", "-fno-pic", "-no-pie", "-fno-tree-loop-distribute-patterns"),
]


class UserOracle:
    """Runs cases in `qemu-riscv64`. HostError if it or the cross compiler is missing.

    A context manager: the compiled runner lives in a temporary folder until `close`.
    """

    name = "qemu-user"

    def __init__(self) -> None:
        self.version = require_program(QEMU_USER).version
        self._qemu = require_program(QEMU_USER).path
        self._folder = tempfile.TemporaryDirectory(prefix="innkeeper-oracle-")
        self._runner = Path(self._folder.name) / "user_runner"
        definitions = {
            "CODE_ADDRESS": CODE_ADDRESS,
            "CODE_BYTES": CODE_BYTES,
            "SCRATCH_ADDRESS": SCRATCH_ADDRESS,
            "SCRATCH_BYTES": SCRATCH_BYTES,
            "CASE_LIMIT_US": CASE_LIMIT_US,
        }
        subprocess.run(
            [
                require_program(CROSS_COMPILER).path,
                *COMPILER_FLAGS,
                *(f"-D{name}={value}UL" for name, value in definitions.items()),
                SOURCE,
                "-o",
                self._runner,
            ],
            check=True,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> UserOracle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the compiled runner."""
        self._folder.cleanup()

    def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """Run each case by itself, all in one QEMU process. RuntimeError if QEMU itself dies, twice.

        Beside much other work it has been seen to end by SIGTRAP, at cases that do no such thing.
        """
        try:
            return self._run(cases)
        except RuntimeError as error:
            print(f"trying again: {error}")
            return self._run(cases)

    def _run(self, cases: Sequence[Case]) -> list[Outcome]:
        completed = subprocess.run(
            [self._qemu, "-cpu", qemu_cpu(privileged=False), self._runner],
            input=b"".join(map(encode_case, cases)),
            capture_output=True,
            timeout=BATCH_TIMEOUT_S,
            check=False,
        )
        outcomes = decode_outcomes(completed.stdout, cases)
        if completed.returncode != 0 or len(outcomes) != len(cases):
            message = completed.stderr.decode(errors="replace").strip()
            raise RuntimeError(
                f"{QEMU_USER} ended with status {completed.returncode} after {len(outcomes)} of {len(cases)} "
                f"reported cases: {message}"
            )
        return outcomes


def encode_case(case: Case) -> bytes:
    """The case as `user_runner.c` reads it."""
    header = _CASE.pack(len(case.code), case.code_offset, len(case.memory), 0, *case.x, *case.f, case.fcsr)
    return header + case.code + case.memory


def decode_outcomes(stream: bytes, cases: Sequence[Case]) -> list[Outcome]:
    """Outcomes as `user_runner.c` writes them: memory comes as the span that the case changed."""
    outcomes = []
    at = 0
    for case in cases:
        if at + _OUTCOME.size > len(stream):
            break
        signal, offset, size, _, pc, address, *registers, fcsr = _OUTCOME.unpack_from(stream, at)
        at += _OUTCOME.size
        memory = bytearray(case.memory.ljust(SCRATCH_BYTES, b"\0"))
        memory[offset : offset + size] = stream[at : at + size]
        at += size
        outcomes.append(
            Outcome(Ending(signal), pc, [0, *registers[1:32]], registers[32:], fcsr, bytes(memory), address)
        )
    return outcomes
