# SPDX-License-Identifier: Apache-2.0
"""A test case for any executor of user-level code, its outcome, and how two outcomes are compared.

One executor is QEMU user mode (`user.UserOracle`), others are our engines. All place the same bytes at the
same addresses, so that addresses that the code computes agree:

    CODE_ADDRESS     two pages, readable, writable, executable: zeros, the code at `code_offset`, an ebreak
    SCRATCH_ADDRESS  two pages, readable and writable: `memory`, then zeros

Nothing else is mapped near them: an access elsewhere is a fault (SIGSEGV).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

PAGE_BYTES = 4096
CODE_ADDRESS = 0x8000_1000
CODE_BYTES = 2 * PAGE_BYTES
SCRATCH_ADDRESS = 0x8000_4000
SCRATCH_BYTES = 2 * PAGE_BYTES
CODE_LIMIT_BYTES = CODE_BYTES - 4
"""`code_offset + len(code)` at most; the ebreak comes behind."""

ECALL = (0x73).to_bytes(4, "little")
EBREAK = (0x0010_0073).to_bytes(4, "little")


class Ending(IntEnum):
    """How a case ended; the values but END are Linux's signal numbers."""

    END = 0
    """The ebreak behind the code was reached."""
    ILLEGAL = 4
    """SIGILL: illegal instruction."""
    BREAKPOINT = 5
    """SIGTRAP: another ebreak."""
    BUS = 7
    """SIGBUS: misaligned where that is not allowed."""
    SEGV = 11
    """SIGSEGV: access or page fault, load, store or fetch."""
    TIMEOUT = 27
    """Did not end by itself."""


def _zeros() -> list[int]:
    return [0] * 32


@dataclass
class Case:
    """Code and the state it starts from. All register values are unsigned 64-bit raw bits.

    `code` must not contain the bytes of an ecall (under QEMU it would be a system call of the host);
    `x[0]` is ignored; `code_offset` (even) shifts the code inside its pages, to let it cross from one to the
    other; `name` is for reports only.
    """

    code: bytes
    x: list[int] = field(default_factory=_zeros)
    f: list[int] = field(default_factory=_zeros)
    fcsr: int = 0
    memory: bytes = b""
    code_offset: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.x) != 32 or len(self.f) != 32:
            raise ValueError("a case has 32 x and 32 f registers")
        if self.code_offset % 2 or self.code_offset + len(self.code) > CODE_LIMIT_BYTES:
            raise ValueError(f"code does not fit: offset {self.code_offset}, {len(self.code)} bytes")
        if len(self.memory) > SCRATCH_BYTES:
            raise ValueError(f"memory is {len(self.memory)} bytes, at most {SCRATCH_BYTES}")
        if ECALL in self.code:
            raise ValueError("the code contains an ecall")


@dataclass
class Outcome:
    """The state in which a case ended. `memory` is all of scratch memory.

    `pc` is that of the instruction that trapped (at the end: of the final ebreak). `address` is the faulting
    data or fetch address for SEGV and BUS, else unspecified.
    """

    ending: Ending
    pc: int
    x: list[int]
    f: list[int]
    fcsr: int
    memory: bytes
    address: int = 0


class CaseRunner(Protocol):
    """An executor of cases: QEMU user mode, or one of our engines."""

    name: str

    def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """Run each case by itself; outcomes in the same order."""


def differences(expected: Outcome, actual: Outcome, *, limit: int = 8) -> list[str]:
    """What differs, one line each, empty if they agree. `address` is compared only for SEGV and BUS."""
    lines = []
    if expected.ending != actual.ending:
        lines.append(f"ending: expected {expected.ending.name}, got {actual.ending.name}")
    if expected.pc != actual.pc:
        lines.append(f"pc: expected {expected.pc:#x}, got {actual.pc:#x}")
    if expected.ending in (Ending.SEGV, Ending.BUS) and expected.address != actual.address:
        lines.append(f"address: expected {expected.address:#x}, got {actual.address:#x}")
    for bank in ("x", "f"):
        pairs = zip(getattr(expected, bank), getattr(actual, bank), strict=True)
        for index, (want, got) in enumerate(pairs):
            if want != got and not (bank == "x" and index == 0):
                lines.append(f"{bank}{index}: expected {want:#018x}, got {got:#018x}")
    if expected.fcsr != actual.fcsr:
        lines.append(f"fcsr: expected {expected.fcsr:#x}, got {actual.fcsr:#x}")
    if expected.memory != actual.memory:
        at = next(i for i, (a, b) in enumerate(zip(expected.memory, actual.memory, strict=True)) if a != b)
        want, got = expected.memory[at : at + 16].hex(), actual.memory[at : at + 16].hex()
        lines.append(f"memory at {SCRATCH_ADDRESS + at:#x}: expected {want}, got {got}")
    return lines[:limit]
