# SPDX-License-Identifier: Apache-2.0
"""An engine whose vCPUs follow a script: the machine's answers are tested without guest code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from innkeeper.engines.engine import Exit, ExitReason, GuestRam
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.reset import reset_words

Script = Callable[["ScriptedVcpu"], Iterator[Exit]]
"""Yields exits; after each it may look at what the machine has answered."""

A0, A1, A2, A6, A7 = (state.X + n for n in (10, 11, 12, 16, 17))


class ScriptedVcpu:
    """Implements `Vcpu`: each `run` gives the script's next exit; a script at its end spins on its budget."""

    def __init__(self, engine: ScriptedEngine, index: int, instructions_per_tick: int) -> None:
        self.index = index
        self.words = memoryview(bytearray(8 * state.HART_WORDS)).cast("Q")
        self.words[state.HART_INDEX] = index
        self.words[state.VIRTUAL_CLOCK] = instructions_per_tick
        self.reads: list[int] = []
        self.exceptions: list[tuple[int, int]] = []
        self.resets: list[tuple[int, int, int, int]] = []
        self.ecalls = 0
        self.flushes = 0
        self.runs = 0
        self._engine = engine
        self._script: Iterator[Exit] = iter(())

    def run(self, budget: int) -> Exit:
        self.runs += 1
        if self._engine.closed:
            raise AssertionError("a vCPU of a closed engine runs")
        if self.words[state.STOP]:
            self.words[state.STOP] = 0
            return Exit(ExitReason.INTERRUPTED)
        event = next(self._script, None)
        self.words[state.INSTRET] += budget if event is None else 1
        if event is None:
            self._engine.spinning.set()
            return Exit(ExitReason.BUDGET)
        return event

    def complete_read(self, value: int) -> None:
        self.reads.append(value)

    def complete_ecall(self) -> None:
        self.ecalls += 1

    def raise_exception(self, cause: int, tval: int) -> None:
        self.exceptions.append((cause, tval))

    def interrupt(self) -> None:
        self.words[state.STOP] = 1

    def set_interrupt(self, mip_bits: int, level: int) -> None:
        lines = self.words[state.IRQ_LINES]
        self.words[state.IRQ_LINES] = lines | mip_bits if level else lines & ~mip_bits

    def post_ipi(self) -> None:
        self.words[state.IPI_MAIL] = 1

    def flush(self) -> None:
        self.flushes += 1

    def float_collect(self) -> None:
        pass

    def float_written(self) -> None:
        pass

    def reset(self, pc: int, privilege: int, a0: int, a1: int) -> None:
        self.resets.append((pc, privilege, a0, a1))
        reset_words(self.words, pc, privilege, a0, a1)
        self._script = self._engine.script(self)


class ScriptedEngine:
    """Implements `Engine`. `script(vcpu)` is started anew at each reset of a hart."""

    name = "scripted"

    def __init__(self, script: Script) -> None:
        self.script = script
        self.vcpus: list[ScriptedVcpu] = []
        self.fences: list[tuple[int, bool]] = []
        self.closed = False
        self.forks: list[bool] = []
        self.spinning = threading.Event()

    def __call__(self, ram: GuestRam) -> ScriptedEngine:
        """As the machine's engine factory; used once for each reset of the machine."""
        self.closed = False
        return self

    def create_vcpu(self, index: int, *, ecall_exits: bool, instructions_per_tick: int = 0) -> ScriptedVcpu:
        vcpu = ScriptedVcpu(self, index, instructions_per_tick)
        self.vcpus.append(vcpu)
        return vcpu

    def remote_fence(self, hart_mask: int, *, instruction: bool) -> None:
        self.fences.append((hart_mask, instruction))

    def before_fork(self) -> ScriptedEngine:
        return self

    def finish(self, *, is_child: bool) -> None:
        self.forks.append(is_child)

    def close(self) -> None:
        self.closed = True


def ecall(vcpu: ScriptedVcpu, extension: int, function: int, *arguments: int) -> Exit:
    """Put the arguments of an SBI call into the registers; the exit to yield."""
    vcpu.words[A7] = extension
    vcpu.words[A6] = function
    for number, value in enumerate(arguments):
        vcpu.words[A0 + number] = value & (1 << 64) - 1
    return Exit(ExitReason.ECALL)


def answer(vcpu: ScriptedVcpu) -> tuple[int, int]:
    """(error, value) of the last SBI call, error signed."""
    error = vcpu.words[A0]
    return (error - (1 << 64) if error >> 63 else error, vcpu.words[A1])
