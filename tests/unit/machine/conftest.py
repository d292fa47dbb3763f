# SPDX-License-Identifier: Apache-2.0
"""Machines over a scripted engine."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from innkeeper.host.clock import HostClock
from innkeeper.machine.board import Peripherals
from innkeeper.machine.boot import BootConfig
from innkeeper.machine.clock import Clock
from innkeeper.machine.machine import MachineConfig, Outcome, VirtMachine
from tests.unit.machine.scripted import Script, ScriptedEngine

MEMORY_BYTES = 64 << 20


def linux_image(
    body: bytes = b"", *, text_offset: int = 0x20_0000, image_bytes: int = 0, flags: int = 0
) -> bytes:
    """A riscv Image with a right header."""
    header = struct.pack(
        "<8xQQQI4xQ8s4sI", text_offset, image_bytes, flags, 2, 0, b"RISCV\0\0\0", b"RSC\x05", 0
    )
    assert len(header) == 64
    return header + body


class Running:
    """A machine whose `run` is on a thread of its own."""

    def __init__(self, machine: VirtMachine) -> None:
        self.machine = machine
        self._result: list[Outcome | BaseException] = []
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()

    def _main(self) -> None:
        try:
            self._result.append(self.machine.run())
        except BaseException as error:
            self._result.append(error)

    def wait(self) -> Outcome:
        self._thread.join(20)
        assert self._result, "the machine did not end"
        result = self._result[0]
        if isinstance(result, BaseException):
            raise result
        return result


class Rig:
    """A machine, its engine, and what it wrote to the serial line."""

    def __init__(
        self, script: Script, kernel: Path, *, cpus: int, clock: Clock, instructions_per_tick: int
    ) -> None:
        self.output = bytearray()
        self.engine = ScriptedEngine(script)
        self.machine = VirtMachine(
            MachineConfig(BootConfig(kernel), cpus, MEMORY_BYTES, instructions_per_tick),
            self.engine,
            Peripherals(read_entropy=bytes, uart_output=self.output.extend),
            clock,
        )

    def start(self) -> Running:
        return Running(self.machine)

    def run(self) -> Outcome:
        return self.start().wait()


MakeRig = Callable[..., Rig]


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "Image"
    path.write_bytes(linux_image())
    return path


@pytest.fixture
def make_rig(kernel: Path) -> Iterator[MakeRig]:
    with contextlib.ExitStack() as stack:

        def make(
            script: Script, *, cpus: int = 1, clock: Clock | None = None, instructions_per_tick: int = 0
        ) -> Rig:
            rig = Rig(
                script,
                kernel,
                cpus=cpus,
                clock=clock or HostClock(),
                instructions_per_tick=instructions_per_tick,
            )
            stack.callback(rig.machine.close)
            stack.callback(rig.machine.stop)
            return rig

        yield make
