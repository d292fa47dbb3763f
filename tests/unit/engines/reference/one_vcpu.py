# SPDX-License-Identifier: Apache-2.0
"""One engine with a little RAM and a vCPU that starts at CODE."""

from __future__ import annotations

from collections.abc import Sequence

from innkeeper.engines.reference.engine import ReferenceEngine
from innkeeper.engines.reference.vcpu import ReferenceVcpu
from innkeeper.isa.riscv.counters import retired
from innkeeper.isa.riscv.state import MTVEC, STVEC
from innkeeper.spec.riscv import PRIV_S
from tests.unit.isa.riscv.bare_hart import CODE, RAM_BASE, PlainRam, encode

HANDLER = RAM_BASE + 0x3000
"""Where traps go; the vCPU spins there."""
SPIN = encode("jal")
NOP = encode("addi")


class Bench:
    """One engine, its RAM, and a vCPU that starts at CODE."""

    def __init__(self, program: Sequence[int] = (), privilege: int = PRIV_S) -> None:
        self.ram = PlainRam()
        self.time_ns = 0
        self.engine = ReferenceEngine(self.ram, lambda: self.time_ns)
        self.vcpu = self.add(0)
        self.put(CODE, program)
        self.put(HANDLER, [SPIN])
        self.vcpu.reset(CODE, privilege, 10, 11)
        self.vcpu.words[MTVEC] = self.vcpu.words[STVEC] = HANDLER

    def add(self, index: int, instructions_per_tick: int = 0) -> ReferenceVcpu:
        return self.engine.create_vcpu(index, ecall_exits=True, instructions_per_tick=instructions_per_tick)

    def put(self, address: int, program: Sequence[int]) -> None:
        for i, word in enumerate(program):
            self.ram.put(address + 4 * i, word, 4)

    @property
    def retired(self) -> int:
        return retired(self.vcpu.words)
