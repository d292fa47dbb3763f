# SPDX-License-Identifier: Apache-2.0
"""The first test: one small program on every engine; everything below the machine has then run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from innkeeper.engines.engine import Engine, ExitReason, GuestRam
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from innkeeper.host.memory import GuestMemory
from innkeeper.isa.riscv.assembler import assemble
from innkeeper.isa.riscv.state import PC, X

BASE = 0x8000_0000
PROGRAM = """
    addi x5, x0, 10
    addi x6, x0, 0
    auipc x7, 1
loop:
    add x6, x6, x5
    sd x6, 0(x7)
    ld x28, 0(x7)
    addi x5, x5, -1
    bne x5, x0, loop
    mul x29, x28, x28
    ecall
"""


@pytest.fixture(params=[ReferenceEngine, JitEngine], ids=["reference", "jit"])
def engine(request: pytest.FixtureRequest) -> Iterator[tuple[Engine, GuestMemory]]:
    make: Callable[[GuestRam], Engine] = request.param
    with GuestMemory(BASE, 1 << 20) as ram:
        made = make(ram)
        yield made, ram
        made.close()


def test_a_loop_with_memory_and_an_exit(engine: tuple[Engine, GuestMemory]) -> None:
    made, ram = engine
    ram.write(BASE, assemble(PROGRAM))
    vcpu = made.create_vcpu(0, ecall_exits=True)
    vcpu.reset(BASE, 1, 0, 0)
    assert vcpu.run(5).reason == ExitReason.BUDGET
    assert vcpu.words[PC] == BASE + 5 * 4  # a budget is exact
    assert vcpu.run(1_000_000).reason == ExitReason.ECALL
    assert vcpu.words[X + 6] == vcpu.words[X + 28] == 55
    assert vcpu.words[X + 29] == 55 * 55
