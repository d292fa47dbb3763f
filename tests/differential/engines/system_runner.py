# SPDX-License-Identifier: Apache-2.0
"""Runs the bare-metal programs of `tests.differential.qemu.system` on our board, with one of our engines.

The machine runs in virtual time on one thread, so that a program does the same each time.
"""

from __future__ import annotations

from pathlib import Path

from innkeeper.machine.board import Peripherals
from innkeeper.machine.boot import BootConfig
from innkeeper.machine.clock import VirtualClock
from innkeeper.machine.machine import Ending, EngineFactory, MachineConfig, VirtMachine
from innkeeper.machine.round_robin import RoundRobin
from tests.differential.qemu.system import MEMORY_BYTES, parse_console

LIMIT_INSTRUCTIONS = 3_000_000
"""No program needs a tenth of it."""
INSTRUCTIONS_PER_TICK = 10


class EngineSystemRunner:
    """A `SystemRunner` over an engine; `make_engine` is called with each program's RAM."""

    def __init__(self, name: str, make_engine: EngineFactory) -> None:
        self.name = name
        self._make_engine = make_engine

    def run(self, elf: Path) -> bytes:
        """The signature that the program prints. RuntimeError if it does not power off in time."""
        console = bytearray()
        machine = VirtMachine(
            MachineConfig(
                BootConfig(kernel=None, firmware=elf),
                memory_bytes=MEMORY_BYTES,
                instructions_per_tick=INSTRUCTIONS_PER_TICK,
            ),
            self._make_engine,
            Peripherals(read_entropy=bytes, uart_output=console.extend),
            VirtualClock(),
        )
        try:
            outcome = RoundRobin(machine).run(LIMIT_INSTRUCTIONS)
        finally:
            machine.close()
        if outcome is None or outcome.ending is not Ending.POWER_OFF:
            raise RuntimeError(f"{elf.name} did not power off: {outcome}; console: {bytes(console)!r}")
        return parse_console(bytes(console))
