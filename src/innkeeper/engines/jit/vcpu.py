# SPDX-License-Identifier: Apache-2.0
"""One hart of the jit engine."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from innkeeper.codegen import layout as at
from innkeeper.engines.engine import Exit, ExitReason
from innkeeper.host.executable import DataArea
from innkeeper.ir.native import M64
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.reset import reset_words
from innkeeper.isa.riscv.surroundings import HartWords
from innkeeper.isa.riscv.traps import raise_exception
from innkeeper.runtime.access import extended
from innkeeper.runtime.dispatch import EXIT_STEP

if TYPE_CHECKING:
    from innkeeper.engines.jit.engine import JitEngine

DEFAULT_MXCSR = 0x1F80
_MMIO = (ExitReason.MMIO_READ, ExitReason.MMIO_WRITE)


class JitVcpu:
    """Implements `innkeeper.engines.engine.Vcpu`; `words` are the first of its block."""

    def __init__(
        self, engine: JitEngine, index: int, block: DataArea, ecall_exits: bool, instructions_per_tick: int
    ) -> None:
        from innkeeper.engines.jit.surroundings import JitSurroundings

        self.index = index
        self.address = block.address
        self.all_words = block.words
        self.words = self.all_words[: state.HART_WORDS]
        self.words[state.HART_INDEX] = index
        self.words[state.ECALL_EXITS] = int(ecall_exits)
        self.words[state.VIRTUAL_CLOCK] = instructions_per_tick
        self._run = engine.function("run_hart", 2, releases_gil=True)
        self._forget_all = engine.function("forget_all", 1)
        self._collect = engine.function("jit_fp_collect", 1)
        self._configure = engine.function("jit_fp_configure", 1)
        self._engine = engine
        self._surroundings = JitSurroundings(engine, self)
        self._h = HartWords(self.words, self._surroundings)
        self._lines = Lock()
        self._exit_pc: int | None = None
        self._stepped_read = False
        """The load that left is executed by its definition: it is done again with the answer."""

    def run(self, budget: int) -> Exit:
        """See `Vcpu.run`; the GIL is released while guest code runs."""
        self._exit_pc = None
        reason = self._run(self.address, budget)
        while reason == EXIT_STEP:
            remaining = self.words[at.REMAINING] - 1
            outcome = self._step(None)
            if outcome >= state.OUTCOME_EXIT:
                reason = outcome - state.OUTCOME_EXIT
                break
            reason = self._run(self.address, remaining)
        if self._engine.optimizer is not None:
            self._engine.optimizer.poll()
        return self._exit(ExitReason(reason))

    def _step(self, answer: int | None) -> int:
        """Execute one instruction by its definition, for what has no stencil; `answer` as in `step`."""
        from innkeeper.engines.reference.step import step

        words = self.words
        words[at.EXIT_PC] = words[state.PC]
        outcome = step(self._h, self._surroundings, answer)
        self._stepped_read = outcome == state.OUTCOME_EXIT + ExitReason.MMIO_READ
        if not self._stepped_read:
            words[state.INSTRET] = (words[state.INSTRET] + 1) & M64
        return outcome

    def _exit(self, reason: ExitReason) -> Exit:
        words = self.words
        if reason not in _MMIO:
            return Exit(reason)
        self._exit_pc = words[at.EXIT_PC]
        value = words[state.EXIT_VALUE] if reason == ExitReason.MMIO_WRITE else 0
        return Exit(reason, words[state.EXIT_ADDRESS], words[state.EXIT_SIZE], value)

    def complete_read(self, value: int) -> None:
        """See `Vcpu.complete_read`."""
        size_bytes, words = self.words[state.EXIT_SIZE], self.words
        if self._stepped_read:
            self._step(value & (1 << 8 * size_bytes) - 1)
            return
        value &= (1 << 8 * size_bytes) - 1
        target = words[state.EXIT_TARGET]
        words[target] = extended(value, size_bytes, words[state.EXIT_EXTEND])
        if target >= state.F:
            words[state.FS_DIRTY] = 1

    def complete_ecall(self) -> None:
        """See `Vcpu.complete_ecall`."""
        self.words[state.PC] = (self.words[state.PC] + 4) & M64

    def raise_exception(self, cause: int, tval: int) -> None:
        """See `Vcpu.raise_exception`; after an MMIO exit, the access that left is what traps."""
        if self._exit_pc is not None:
            self.words[state.PC] = self._exit_pc
        if self._stepped_read:
            self._stepped_read = False
            self.words[state.INSTRET] = (self.words[state.INSTRET] + 1) & M64
        raise_exception(self._h, cause, tval)

    def interrupt(self) -> None:
        """See `Vcpu.interrupt`; noticed at the end of the slice."""
        self.words[state.STOP] = 1

    def set_interrupt(self, mip_bits: int, level: int) -> None:
        """See `Vcpu.set_interrupt`."""
        with self._lines:
            lines = self.words[state.IRQ_LINES]
            self.words[state.IRQ_LINES] = lines | mip_bits if level else lines & ~mip_bits

    def post_ipi(self) -> None:
        """See `Vcpu.post_ipi`."""
        self.words[state.IPI_MAIL] = 1

    def flush(self) -> None:
        """See `Vcpu.flush`."""
        self._forget_all(self.address)

    def float_collect(self) -> None:
        """Make FFLAGS complete: compiled code leaves flags in the host's register."""
        self._collect(self.address)

    def float_written(self) -> None:
        """FFLAGS or FRM were written from outside: let compiled code use them."""
        self._configure(self.address)

    def reset(self, pc: int, privilege: int, a0: int, a1: int) -> None:
        """See `Vcpu.reset`."""
        reset_words(self.words, pc, privilege, a0, a1)
        self._exit_pc = None
        self._stepped_read = False
        self.words[at.MXCSR] = DEFAULT_MXCSR
        self.flush()
