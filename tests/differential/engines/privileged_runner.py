# SPDX-License-Identifier: Apache-2.0
"""Runs programs of `tests.differential.engines.privileged` on an engine and takes all of the state."""

from __future__ import annotations

from innkeeper.engines.engine import Engine, Exit, ExitReason
from innkeeper.host.memory import GuestMemory
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.csrs import status_value
from innkeeper.isa.riscv.surroundings import HartWords
from tests.differential.engines.privileged import BASE, RAM_BYTES, PrivilegedCase

TOTAL_INSTRUCTIONS = 300
_INTERNAL = {
    *(state.SCRAP, state.BUDGET, state.SLICE, state.REQUEST, state.STOP, state.RESULT, state.FAULT_CAUSE),
    *(state.FAULT_TVAL, state.EXIT_REASON, state.EXIT_ADDRESS, state.EXIT_SIZE, state.EXIT_VALUE),
    *(state.EXIT_TARGET, state.EXIT_EXTEND, state.LEAF_PTE, state.LEAF_SHIFT),
    *(state.MSTATUS, state.FS_DIRTY),
}
"""Words that are no part of a hart's state; the last two make mstatus together, see `Result`."""
_NAMES = {
    **{index: name.lower() for name, index in vars(state).items() if isinstance(index, int)},
    **{state.X + i: f"x{i}" for i in range(32)},
    **{state.F + i: f"f{i}" for i in range(32)},
}
Result = tuple[dict[str, int], bytes]
"""State by name, all of it, with mstatus as software would read it; and all RAM."""


class PrivilegedRunner:
    """Runs cases with `slice_budget` instructions at a time.

    Engines may look for a timer's interrupt at different instructions inside a slice, so time stands still
    unless each instruction is a slice of its own.
    """

    def __init__(self, engine_type: type, *, slice_budget: int) -> None:
        self.ram = GuestMemory(BASE, RAM_BYTES)
        self.engine: Engine = engine_type(self.ram)
        self.name = self.engine.name
        tick = 3 if slice_budget == 1 else 1 << 40
        self.vcpu = self.engine.create_vcpu(0, ecall_exits=False, instructions_per_tick=tick)
        self.slice_budget = slice_budget

    def close(self) -> None:
        """Free the engine and its RAM."""
        self.engine.close()
        self.ram.close()

    def run(self, case: PrivilegedCase) -> Result:
        """Run one program for TOTAL_INSTRUCTIONS."""
        self._prepare(case)
        self.before_run(case)
        words, vcpu = self.vcpu.words, self.vcpu
        while (retired := words[state.INSTRET]) < TOTAL_INSTRUCTIONS:
            self._answer(vcpu.run(min(self.slice_budget, TOTAL_INSTRUCTIONS - retired)))
            vcpu.set_interrupt(case.lines, 1)
        if hasattr(vcpu, "float_collect"):
            vcpu.float_collect()
        found = {
            _NAMES.get(index, f"word {index}"): words[index]
            for index in range(state.ENGINE)
            if index not in _INTERNAL
        }
        found["mstatus"] = status_value(HartWords(words, None))  # type: ignore[arg-type]
        return found, bytes(self.ram.buffer)

    def before_run(self, case: PrivilegedCase) -> None:
        """For subclasses: RAM and state are as the case wants them."""

    def _prepare(self, case: PrivilegedCase) -> None:
        self.ram.buffer[:] = case.ram
        self.engine.memory_written(BASE, RAM_BYTES)
        vcpu, words = self.vcpu, self.vcpu.words
        words[state.IRQ_LINES], words[state.TIME_OFFSET] = 0, 40
        vcpu.reset(BASE, 3, 0, 0)
        for index, value in case.words.items():
            words[index] = value
        if hasattr(vcpu, "float_written"):
            vcpu.float_written()
        vcpu.flush()

    def _answer(self, left: Exit) -> None:
        """A device at every second address; elsewhere nothing is."""
        here = left.address & 8 == 0
        if left.reason == ExitReason.MMIO_READ and here:
            self.vcpu.complete_read(left.address * 0x9E37_79B9_7F4A_7C15 & (1 << 64) - 1)
        elif left.reason in (ExitReason.MMIO_READ, ExitReason.MMIO_WRITE) and not here:
            cause = 5 if left.reason == ExitReason.MMIO_READ else 7
            self.vcpu.raise_exception(cause, self.vcpu.words[state.FAULT_TVAL])


def different(expected: Result, actual: Result) -> list[str]:
    """What differs, one line each."""
    lines = [
        f"{name}: {value:#x} and {actual[0][name]:#x}"
        for name, value in expected[0].items()
        if value != actual[0][name]
    ]
    if expected[1] != actual[1]:
        at = next(i for i in range(RAM_BYTES) if expected[1][i] != actual[1][i])
        lines.append(f"memory at {BASE + at:#x}")
    return lines
