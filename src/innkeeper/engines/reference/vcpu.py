# SPDX-License-Identifier: Apache-2.0
"""A vCPU of the reference engine."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from innkeeper.engines.engine import Exit, ExitReason, GuestRam
from innkeeper.engines.reference.floating import number_of
from innkeeper.engines.reference.hart import ReferenceHart
from innkeeper.engines.reference.pages import PageCache
from innkeeper.engines.reference.ram import RamSurroundings
from innkeeper.engines.reference.turns import Turns
from innkeeper.ir.native import M64
from innkeeper.isa.riscv.reset import reset_words
from innkeeper.isa.riscv.state import (
    BUDGET,
    ECALL_EXITS,
    EXIT_ADDRESS,
    EXIT_SIZE,
    EXIT_VALUE,
    HART_INDEX,
    HART_WORDS,
    INSTRET,
    IPI_MAIL,
    IRQ_LINES,
    OUTCOME_EXIT,
    OUTCOME_NEXT,
    PC,
    POLL_INTERVAL,
    REQUEST,
    SLICE,
    STOP,
    VIRTUAL_CLOCK,
)
from innkeeper.isa.riscv.surroundings import HartWords
from innkeeper.isa.riscv.traps import poll_interrupt, raise_exception

_UNFINISHED = (OUTCOME_EXIT + ExitReason.MMIO_READ, OUTCOME_EXIT + ExitReason.ECALL)
"""Exits whose instruction is completed later, and counted then."""


class _Surroundings(RamSurroundings):
    """Tells the page cache what changes."""

    def __init__(self, ram: GuestRam, words: memoryview, now_ns: Callable[[], int], pages: PageCache) -> None:
        super().__init__(ram, words, now_ns)
        self._pages = pages

    def translation_changed(self) -> None:
        self._pages.select(self._words)

    def flush_translations(self, address: int | None, asid: int | None) -> None:
        self._pages.flush(self._words)


class ReferenceVcpu:
    """Implements `innkeeper.engines.engine.Vcpu`."""

    def __init__(
        self,
        index: int,
        ram: GuestRam,
        now_ns: Callable[[], int],
        turns: Turns,
        *,
        ecall_exits: bool,
        instructions_per_tick: int,
    ) -> None:
        self.index = index
        self.words = memoryview(bytearray(HART_WORDS * 8)).cast("Q")
        self.words[HART_INDEX] = index
        self.words[ECALL_EXITS] = int(ecall_exits)
        self.words[VIRTUAL_CLOCK] = instructions_per_tick
        self._turns = turns
        self._lines = Lock()
        self._pages = PageCache()
        surroundings = _Surroundings(ram, self.words, now_ns, self._pages)
        self._h = HartWords(self.words, surroundings)
        self._hart = ReferenceHart(self._h, surroundings, self._pages)
        self._served_requests = 0
        self._left_by_store: int | None = None
        """Address of the store that the last `run` left for."""

    def run(self, budget: int) -> Exit:
        """Execute up to `budget` instructions; other harts get their turn every POLL_INTERVAL of them."""
        words = self.words
        words[SLICE] = words[BUDGET] = budget
        self._left_by_store = None
        outcome = OUTCOME_NEXT
        try:
            while outcome == OUTCOME_NEXT and words[BUDGET]:
                with self._turns:
                    outcome = self._slice()
        finally:
            words[INSTRET] = (words[INSTRET] + words[SLICE] - words[BUDGET]) & M64
            words[SLICE] = words[BUDGET] = 0
        if outcome == OUTCOME_NEXT:
            return Exit(ExitReason.BUDGET)
        return self._exit(ExitReason(outcome - OUTCOME_EXIT))

    def _slice(self) -> int:
        """Up to POLL_INTERVAL instructions; an exit's outcome, else OUTCOME_NEXT."""
        words, hart = self.words, self._hart
        if words[STOP]:
            words[STOP] = 0
            return OUTCOME_EXIT + ExitReason.INTERRUPTED
        requests = words[REQUEST]
        if requests != self._served_requests:
            self._served_requests = requests
            self._pages.flush(words)
        poll_interrupt(self._h)
        for _ in range(min(POLL_INTERVAL, words[BUDGET])):
            outcome = hart.step()
            if outcome not in _UNFINISHED:
                words[BUDGET] -= 1
            if outcome >= OUTCOME_EXIT:
                return outcome
            if hart.system_called:
                hart.system_called = False
                poll_interrupt(self._h)
        return OUTCOME_NEXT

    def _exit(self, reason: ExitReason) -> Exit:
        words = self.words
        if reason == ExitReason.MMIO_READ:
            return Exit(reason, words[EXIT_ADDRESS], words[EXIT_SIZE])
        if reason == ExitReason.MMIO_WRITE:
            self._left_by_store = number_of(self._hart.pc)
            return Exit(reason, words[EXIT_ADDRESS], words[EXIT_SIZE], words[EXIT_VALUE])
        return Exit(reason)

    def complete_read(self, value: int) -> None:
        """Execute the load again with `value`; counts as one instruction."""
        self._hart.answer = value & ((1 << self.words[EXIT_SIZE] * 8) - 1)
        with self._turns:
            self._hart.step()
        self._hart.answer = None
        self._count_one()

    def complete_ecall(self) -> None:
        """Step past the ecall; counts as one instruction."""
        self.words[PC] = (self.words[PC] + 4) & M64
        self._count_one()

    def raise_exception(self, cause: int, tval: int) -> None:
        """Let the instruction at pc trap, or after MMIO_WRITE the store that left.

        That store has changed nothing but pc and is counted already; everything else counts as one now.
        """
        if self._left_by_store is None:
            self._count_one()
        else:
            self.words[PC] = self._left_by_store
            self._left_by_store = None
        raise_exception(self._h, cause, tval)

    def _count_one(self) -> None:
        self.words[INSTRET] = (self.words[INSTRET] + 1) & M64

    def interrupt(self) -> None:
        """From any thread: `run` returns INTERRUPTED within POLL_INTERVAL instructions, or at once."""
        self.words[STOP] = 1

    def set_interrupt(self, mip_bits: int, level: int) -> None:
        """From any thread: lines of devices, in mip's positions."""
        with self._lines:
            lines = self.words[IRQ_LINES]
            self.words[IRQ_LINES] = lines | mip_bits if level else lines & ~mip_bits

    def post_ipi(self) -> None:
        """From any thread: SSIP at the next poll."""
        self.words[IPI_MAIL] = 1

    def flush(self) -> None:
        """Forget every translation."""
        self._pages.flush(self.words)

    def float_collect(self) -> None:
        """FFLAGS is always complete."""

    def float_written(self) -> None:
        """FFLAGS and FRM are read when they are needed."""

    def reset(self, pc: int, privilege: int, a0: int, a1: int) -> None:
        """See `reset_words`."""
        reset_words(self.words, pc, privilege, a0, a1)
        self._hart.system_called = False
        self._left_by_store = None
        self._pages.flush(self.words)
