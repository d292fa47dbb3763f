# SPDX-License-Identifier: Apache-2.0
"""A machine with something in its memory, and another one to restore it into."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from innkeeper.engines.engine import Exit
from innkeeper.isa.riscv import state
from innkeeper.machine import snapshot
from innkeeper.machine.machine import VirtMachine
from innkeeper.spec import board
from innkeeper.spec.board import PAGE_BYTES
from tests.unit.machine.conftest import MEMORY_BYTES, MakeRig
from tests.unit.machine.scripted import ScriptedVcpu


def spin(vcpu: ScriptedVcpu) -> Iterator[Exit]:
    yield from ()


def put_page(machine: VirtMachine, number: int, page: bytes) -> None:
    machine.memory.write(board.RAM_BASE + number * PAGE_BYTES, page)


def memory_of(machine: VirtMachine) -> bytes:
    return bytes(machine.memory.buffer)


def random_page(choose: random.Random) -> bytes:
    return choose.randbytes(PAGE_BYTES)


@pytest.fixture
def machine(make_rig: MakeRig) -> VirtMachine:
    """Switched on, with pages of every kind: alone, twice, zero, at both ends, more than a chunk of them."""
    made = make_rig(spin).machine
    made.power_on()
    choose = random.Random(1)
    twice = random_page(choose)
    for number in (3000, 3001, 9000):
        put_page(made, number, twice)
    for number in range(4000, 4150):
        put_page(made, number, random_page(choose))
    put_page(made, MEMORY_BYTES // PAGE_BYTES - 1, random_page(choose))
    put_page(made, 5000, bytes(PAGE_BYTES))
    made.harts[0].words[state.X + 5] = 0x1234
    return made


@pytest.fixture
def load(make_rig: MakeRig) -> Callable[[Path], VirtMachine]:
    def load_new(folder: Path) -> VirtMachine:
        made = make_rig(spin).machine
        snapshot.load(made, folder)
        return made

    return load_new


Load = Callable[[Path], VirtMachine]
