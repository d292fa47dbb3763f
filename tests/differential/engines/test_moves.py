# SPDX-License-Identifier: Apache-2.0
"""Programs that are saved and go on elsewhere at random moments end as if they had run straight through."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from innkeeper.bench.programs import Program
from innkeeper.devices.saved import from_plain, to_plain
from innkeeper.engines.engine import Engine, GuestRam, Vcpu
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from innkeeper.machine import snapshot
from innkeeper.machine.board import Peripherals
from innkeeper.machine.boot import BootConfig
from innkeeper.machine.clock import VirtualClock
from innkeeper.machine.hart import Hart
from innkeeper.machine.hart_record import HartRecord, put, record
from innkeeper.machine.machine import Ending, MachineConfig, Outcome, VirtMachine
from innkeeper.machine.round_robin import RoundRobin
from tests.differential.engines.programs import describe, random_case
from tests.differential.engines.runner import BUDGET, RAM_BASE, RAM_BYTES, EngineRunner
from tests.differential.engines.system_runner import INSTRUCTIONS_PER_TICK, LIMIT_INSTRUCTIONS
from tests.differential.qemu.case import Case, differences
from tests.differential.qemu.system import MEMORY_BYTES, SystemProgram, parse_console, programs
from tests.oracle.fixtures import *  # noqa: F403

CASES = 2000
MOVES = 4
"""How often a bare-metal program is saved; it then ends where it is."""


class MovingRunner(EngineRunner):
    """Two engines over one RAM; between slices the hart moves from one to the other, through JSON."""

    def __init__(self, slice_budget: int) -> None:
        super().__init__(JitEngine, slice_budget=slice_budget)
        other = ReferenceEngine(self.ram)
        self._places: Iterator[tuple[Engine, Vcpu]] = itertools.cycle(
            [(other, other.create_vcpu(0, ecall_exits=True)), (self.engine, self.vcpu)]
        )
        self._jit = self.engine

    def between_slices(self, case: Case) -> None:
        clock = VirtualClock()
        saved = json.loads(json.dumps(to_plain(record(Hart(self.vcpu, clock)))))
        self.engine, self.vcpu = next(self._places)
        put(Hart(self.vcpu, clock), from_plain(HartRecord, saved, "hart"))
        self._jit.memory_written(RAM_BASE, RAM_BYTES)

    def before_run(self, case: Case) -> None:
        self._jit.memory_written(RAM_BASE, RAM_BYTES)

    def close(self) -> None:
        self._jit.close()


@pytest.mark.parametrize("slice_budget", [1, 3, 10])
def test_random_programs_that_change_the_engine_again_and_again(slice_budget: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    cases = [random_case(source) for _ in range(CASES)]
    with (
        contextlib.closing(EngineRunner(ReferenceEngine, slice_budget=BUDGET)) as straight,
        contextlib.closing(MovingRunner(slice_budget)) as moving,
    ):
        for case, expected, actual in zip(cases, straight.run(cases), moving.run(cases), strict=True):
            found = differences(expected, actual)
            assert not found, f"seed {seed}, moved:\n{describe(case)}\n{found}"


def jit(ram: GuestRam) -> Engine:
    return JitEngine(ram)


def reference(ram: GuestRam) -> Engine:
    return ReferenceEngine(ram)


class Runs:
    """One bare-metal program in virtual time, on as many machines as it is moved to."""

    def __init__(self, elf: Path, stack: contextlib.ExitStack) -> None:
        self._elf, self._stack = elf, stack
        self.console = bytearray()

    def machine(self, make_engine: Callable[[GuestRam], Engine]) -> VirtMachine:
        made = VirtMachine(
            MachineConfig(
                BootConfig(kernel=None, firmware=self._elf),
                memory_bytes=MEMORY_BYTES,
                instructions_per_tick=INSTRUCTIONS_PER_TICK,
            ),
            make_engine,
            Peripherals(read_entropy=bytes, uart_output=self.console.extend),
            VirtualClock(),
        )
        self._stack.callback(made.close)
        return made

    def signature(self, outcome: Outcome | None) -> bytes:
        assert outcome is not None and outcome.ending is Ending.POWER_OFF, (outcome, bytes(self.console))
        return parse_console(bytes(self.console))


def run_straight(elf: Path) -> tuple[bytes, int]:
    """The signature, and how many instructions it took."""
    with contextlib.ExitStack() as stack:
        runs = Runs(elf, stack)
        machine = runs.machine(reference)
        signature = runs.signature(RoundRobin(machine).run(LIMIT_INSTRUCTIONS))
        return signature, machine.harts[0].retired()


def run_moved(elf: Path, moments: list[int], folder: Path) -> bytes:
    """The signature; after each number of instructions it is saved to a folder and restored elsewhere."""
    engines = itertools.cycle([jit, reference])
    with contextlib.ExitStack() as stack:
        runs = Runs(elf, stack)
        machine = runs.machine(next(engines))
        outcome = None
        for number, length in enumerate(moments):
            scheduler = RoundRobin(machine, slice_instructions=length)
            outcome = scheduler.run(length) if number == 0 else scheduler.go_on(length)
            if outcome is not None:
                break
            parent = folder / f"s{number - 1}" if number else None
            snapshot.save(machine, folder / f"s{number}", parent)
            machine = runs.machine(next(engines))
            snapshot.load(machine, folder / f"s{number}")
        return runs.signature(outcome or RoundRobin(machine).go_on(LIMIT_INSTRUCTIONS))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, cross_compiler: Program) -> Path:
    return tmp_path_factory.mktemp("moved")


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.name)
def test_bare_metal_programs_that_are_restored_on_another_engine(
    program: SystemProgram, built: Path, tmp_path: Path
) -> None:
    elf = program.build(built)
    expected, instructions = run_straight(elf)
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    moments = sorted(choose.randrange(1, instructions) for _ in range(MOVES))
    lengths = [moments[0], *(max(1, b - a) for a, b in itertools.pairwise(moments))]
    assert program.mismatches(expected, run_moved(elf, lengths, tmp_path)) == []
