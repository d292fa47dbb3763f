# SPDX-License-Identifier: Apache-2.0
"""With regions forced a run retires exactly its budget, wherever in a region it ends."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from innkeeper.engines.engine import ExitReason
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.assembler import assemble
from tests.differential.engines.forced import RegionForcer
from tests.unit.runtime.guest import BASE, GuardedRam

LONGEST = 300
DATA = 0x8000_2000
FS_INITIAL = 1 << 13
LOOPS = {
    "one block": "loop: addi x5, x5, 3; xor x6, x6, x5; jal x0, loop",
    "nested": """
        outer: addi x7, x0, 5
        inner: addi x7, x7, -1; add x6, x6, x7; bne x7, x0, inner
        addi x5, x5, 1; jal x0, outer""",
    "short branches": """
        loop: addi x5, x5, 1; andi x7, x5, 1; bne x7, x0, even; addi x6, x6, 7; xor x8, x8, x6
        even: andi x7, x5, 2; beq x7, x0, loop; addi x6, x6, 1; jal x0, loop""",
    "calls": """
        loop: jal x1, one; jal x1, two; addi x5, x5, 1; jal x0, loop
        one: addi x6, x6, 3; jalr x0, 0(x1)
        two: addi x7, x1, 0; jal x1, one; jalr x0, 0(x7)""",
    "memory": """
        loop: ld x6, 0(x10); addi x6, x6, 5; sd x6, 0(x10); lbu x7, 2047(x10); amoadd.w x8, x6, (x10)
        andi x9, x6, 8; beq x9, x0, loop; sh x6, 34(x10); jal x0, loop""",
    "floating point": """
        loop: fcvt.d.l f1, x5; fadd.d f2, f2, f1; fsd f2, 8(x10); addi x5, x5, 1; jal x0, loop""",
    "not all compiled": "loop: addi x5, x5, 1; csrrs x6, 0xc02, x0; addi x7, x6, 1; jal x0, loop",
    "way in": """
        addi x5, x0, 1; addi x6, x0, 2; loop: addi x5, x5, 3; slli x6, x6, 1; add x5, x5, x6; jal x0, loop""",
}


@dataclass
class Side:
    """An engine with its hart."""

    ram: GuardedRam
    engine: JitEngine | ReferenceEngine

    def __post_init__(self) -> None:
        self.vcpu = self.engine.create_vcpu(0, ecall_exits=True)

    def start(self, code: bytes) -> None:
        self.ram.buffer[:] = bytes(len(self.ram.buffer))
        self.ram.write(BASE, code)
        self.engine.memory_written(BASE, len(self.ram.buffer))
        self.again()

    def again(self) -> None:
        """From the start, with RAM as it is."""
        self.vcpu.reset(BASE, 3, 0, 0)
        self.vcpu.words[state.X + 10] = DATA
        self.vcpu.words[state.MSTATUS] |= FS_INITIAL
        self.vcpu.flush()

    def found(self) -> tuple[list[int], bytes]:
        words = self.vcpu.words
        indexes = [*range(state.X, state.X + 32), *range(state.F, state.F + 32), state.PC, state.INSTRET]
        return [words[i] for i in indexes], bytes(self.ram.buffer)


def sides() -> tuple[Side, Side, RegionForcer]:
    rams = GuardedRam(1 << 14), GuardedRam(1 << 14)
    jit = JitEngine(rams[1])
    return Side(rams[0], ReferenceEngine(rams[0])), Side(rams[1], jit), RegionForcer(jit)


@pytest.mark.parametrize("name", LOOPS)
def test_a_run_is_exact(name: str) -> None:
    reference, forced, forcer = sides()
    code = assemble(LOOPS[name], BASE)
    for side in (reference, forced):
        side.start(code)
    for budget in range(1, LONGEST):
        for side in (reference, forced):
            side.again()
        assert forcer.force(BASE, (0,))
        before = forcer.entered
        for side in (reference, forced):
            assert side.vcpu.run(budget).reason == ExitReason.BUDGET
            assert side.vcpu.words[state.INSTRET] == budget
        assert reference.found() == forced.found(), budget
        assert forcer.entered > before
    for side in (reference, forced):
        side.engine.close()
    forcer.close()


def test_a_loop_stays_in_its_region() -> None:
    """Entered once, it runs to the budget's end: the baseline tier has nothing to translate but the rest."""
    _, forced, forcer = sides()
    forced.start(assemble(LOOPS["nested"], BASE))
    assert forcer.force(BASE, (0,))
    forced.vcpu.run(19_999)
    assert forced.vcpu.words[state.INSTRET] == 19_999
    assert forcer.entered <= 2
    assert forced.engine.statistics()["translated_instructions"] <= 10
    forced.engine.close()
    forcer.close()
