# SPDX-License-Identifier: Apache-2.0
"""Runs the cases of `tests.differential.qemu.case` on one of our engines, in U-mode under Sv39.

Code and scratch pages lie in scattered physical pages, so that an access which crosses a page really has two
translations. A trap enters S-mode at an ecall, which leaves the engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from innkeeper.engines.engine import Engine, ExitReason
from innkeeper.host.memory import GuestMemory
from innkeeper.isa.riscv import state
from tests.differential.qemu.case import (
    CODE_ADDRESS,
    CODE_BYTES,
    EBREAK,
    ECALL,
    PAGE_BYTES,
    SCRATCH_ADDRESS,
    SCRATCH_BYTES,
    Case,
    Ending,
    Outcome,
)

RAM_BASE = 0x8000_0000
RAM_BYTES = 1 << 20
ROOT, MIDDLE, LEAF, HANDLER = (RAM_BASE + n * PAGE_BYTES for n in (16, 17, 18, 19))
HANDLER_VA = 0x8010_0000
CODE_PAGES = (RAM_BASE + 40 * PAGE_BYTES, RAM_BASE + 33 * PAGE_BYTES)
SCRATCH_PAGES = (RAM_BASE + 57 * PAGE_BYTES, RAM_BASE + 50 * PAGE_BYTES)
BUDGET = 2_000
FS_INITIAL = 1 << 13
_V, _R, _W, _X, _U, _AD = 1, 2, 4, 8, 16, 0xC0
_ENDINGS = {2: Ending.ILLEGAL, 3: Ending.BREAKPOINT, 4: Ending.BUS, 6: Ending.BUS}


class EngineRunner:
    """A `CaseRunner` over an engine. Each `run` gets `slice_budget`, so that its end can be anywhere."""

    def __init__(self, engine_type: type, *, slice_budget: int = BUDGET) -> None:
        self.ram = GuestMemory(RAM_BASE, RAM_BYTES)
        self.engine: Engine = engine_type(self.ram)
        self.name = self.engine.name
        self.vcpu = self.engine.create_vcpu(0, ecall_exits=True)
        self.slice_budget = slice_budget
        self._make_tables()

    def close(self) -> None:
        """Free the engine and its RAM."""
        self.engine.close()

    def _make_tables(self) -> None:
        for va, pa, bits in [
            *((CODE_ADDRESS + i * PAGE_BYTES, pa, _R | _W | _X | _U) for i, pa in enumerate(CODE_PAGES)),
            *((SCRATCH_ADDRESS + i * PAGE_BYTES, pa, _R | _W | _U) for i, pa in enumerate(SCRATCH_PAGES)),
            (HANDLER_VA, HANDLER, _R | _X),
        ]:
            self._write64(ROOT + 8 * (va >> 30), MIDDLE >> 2 | _V)
            self._write64(MIDDLE + 8 * (va >> 21 & 511), LEAF >> 2 | _V)
            self._write64(LEAF + 8 * (va >> 12 & 511), pa >> 2 | bits | _V | _AD)
        self.ram.write(HANDLER, ECALL)

    def _write64(self, address: int, value: int) -> None:
        self.ram.write(address, value.to_bytes(8, "little"))

    def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """Run each case by itself; outcomes in the same order."""
        return [self._run_case(case) for case in cases]

    def _put(self, pages: tuple[int, ...], data: bytes) -> None:
        for i, page in enumerate(pages):
            self.ram.write(page, data[i * PAGE_BYTES : (i + 1) * PAGE_BYTES])
            if hasattr(self.engine, "memory_written"):
                self.engine.memory_written(page, PAGE_BYTES)

    def _run_case(self, case: Case) -> Outcome:
        code = (bytes(case.code_offset) + case.code + EBREAK).ljust(CODE_BYTES, b"\0")
        self._put(CODE_PAGES, code)
        self._put(SCRATCH_PAGES, case.memory.ljust(SCRATCH_BYTES, b"\0"))
        words = self.vcpu.words
        self.vcpu.reset(CODE_ADDRESS + case.code_offset, 0, 0, 0)
        words[state.SATP] = 8 << 60 | ROOT >> 12
        words[state.STVEC] = HANDLER_VA
        words[state.MSTATUS] |= FS_INITIAL
        words[state.FFLAGS], words[state.FRM] = case.fcsr & 31, case.fcsr >> 5
        for i in range(1, 32):
            words[state.X + i] = case.x[i]
        for i in range(32):
            words[state.F + i] = case.f[i]
        if hasattr(self.vcpu, "float_written"):
            self.vcpu.float_written()
        self.vcpu.flush()
        self.before_run(case)
        left = BUDGET
        reason = ExitReason.BUDGET
        while left > 0 and reason == ExitReason.BUDGET:
            reason = self.vcpu.run(min(left, self.slice_budget)).reason
            left -= self.slice_budget
            self.between_slices(case)
        return self._outcome(case, reason)

    def before_run(self, case: Case) -> None:
        """For subclasses: RAM and state are as the case wants them."""

    def between_slices(self, case: Case) -> None:
        """For subclasses: another slice may follow."""

    def _outcome(self, case: Case, reason: ExitReason) -> Outcome:
        words = self.vcpu.words
        if hasattr(self.vcpu, "float_collect"):
            self.vcpu.float_collect()
        memory = b"".join(self.ram.read(p, PAGE_BYTES) for p in SCRATCH_PAGES)
        ending, pc = Ending.TIMEOUT, words[state.PC]
        if reason == ExitReason.ECALL:
            pc, cause = words[state.SEPC], words[state.SCAUSE]
            ending = _ENDINGS.get(cause, Ending.SEGV)
            if cause == 3 and pc == CODE_ADDRESS + case.code_offset + len(case.code):
                ending = Ending.END
        x = [0, *(words[state.X + i] for i in range(1, 32))]
        f = [words[state.F + i] for i in range(32)]
        fcsr = words[state.FFLAGS] | words[state.FRM] << 5
        return Outcome(ending, pc, x, f, fcsr, memory, words[state.STVAL])
