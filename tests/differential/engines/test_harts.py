# SPDX-License-Identifier: Apache-2.0
"""Several harts on threads of their own: atomics, LR/SC and remote fences give the right sums."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from innkeeper.engines.engine import ExitReason
from innkeeper.engines.jit import JitEngine
from innkeeper.host.memory import GuestMemory
from innkeeper.isa.riscv.assembler import assemble
from innkeeper.isa.riscv.state import X
from tests.differential.engines.forced import RegionForcer, instruction_offsets, random_entries

BASE = 0x8000_0000
COUNTERS = BASE + 0x8000
ROUNDS = 200_000
MORE_ROUNDS = 10_000_000
JOIN_TIMEOUT_S = 60
PROGRAM = f"""
    li x5, {COUNTERS}
    li x7, 1
loop:
    amoadd.d x0, x7, (x5)
    addi x8, x5, 64
again:
    lr.d x9, (x8)
    addi x9, x9, 3
    sc.d x10, x9, (x8)
    bne x10, x0, again
    addi x11, x5, 128
spin:
    amoswap.w x12, x7, (x11)
    bne x12, x0, spin
    ld x13, 192(x5)
    addi x13, x13, 5
    sd x13, 192(x5)
    fence
    sw x0, 0(x11)
    addi x6, x6, -1
    bne x6, x0, loop
    ecall
"""
"""An atomic add, an LR/SC increment, and a plain increment under a spin lock."""
CODE = assemble(PROGRAM)
LOOP = assemble("amoadd.d x0, x7, (x5)")


@pytest.mark.parametrize("hart_count", [2, 4])
def test_lock_free_counters(hart_count: int) -> None:
    with GuestMemory(BASE, 1 << 20) as ram:
        engine = JitEngine(ram)
        run_harts(engine, hart_count, ROUNDS, lambda: None)
        engine.close()


@pytest.mark.parametrize("hart_count", [2, 4])
def test_regions_that_come_and_go(hart_count: int, rng: random.Random) -> None:
    """Regions are put under the running harts, and taken away, at any moment."""
    with GuestMemory(BASE, 1 << 20) as ram:
        engine = JitEngine(ram)
        forcer = RegionForcer(engine)
        offsets = instruction_offsets(CODE, 0, len(CODE))
        regions = [random_entries(rng, offsets, (CODE.index(LOOP),)) for _ in range(4)]
        ram.write(BASE, CODE)
        for entries in regions:  # compiled now, so that they come fast later
            assert forcer.force(BASE, entries)

        def disturb() -> None:
            if rng.random() < 0.7:
                forcer.force(BASE, rng.choice(regions))
            else:
                engine.memory_written(BASE + rng.choice(offsets), 4)

        run_harts(engine, hart_count, MORE_ROUNDS // hart_count, disturb)
        assert forcer.entered > 10 * hart_count
        engine.close()
        forcer.close()


def run_harts(engine: JitEngine, hart_count: int, rounds: int, disturb: Callable[[], object]) -> None:
    """Run PROGRAM on all harts under remote fences and what `disturb` does, and look at the sums."""
    engine.ram.write(BASE, CODE)
    vcpus = [engine.create_vcpu(i, ecall_exits=True) for i in range(hart_count)]
    reasons: list[ExitReason] = []

    def run(index: int) -> None:
        vcpu = vcpus[index]
        vcpu.reset(BASE, 1, 0, 0)
        vcpu.words[X + 6] = rounds
        reason = ExitReason.BUDGET
        for _ in range(100_000):
            reason = vcpu.run(1_000_000).reason
            if reason != ExitReason.BUDGET:
                break
        reasons.append(reason)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(hart_count)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads[:1]):
        engine.remote_fence((1 << hart_count) - 1, instruction=True)
        disturb()
        threads[0].join(0.001)
    for thread in threads:
        thread.join(JOIN_TIMEOUT_S)
    assert reasons == [ExitReason.ECALL] * hart_count
    values = [int.from_bytes(engine.ram.read(COUNTERS + at, 8), "little") for at in (0, 64, 192)]
    assert values == [factor * hart_count * rounds for factor in (1, 3, 5)]
