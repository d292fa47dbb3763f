# SPDX-License-Identifier: Apache-2.0
"""The profiler: samples fall into the part of the engine that works, and nothing is left behind."""

from __future__ import annotations

import threading
from collections import Counter

from innkeeper.bench.profile import Profile, ProfiledEngine, rows, table
from innkeeper.engines.engine import ExitReason
from innkeeper.engines.jit.symbols import OPTIMISED, TRANSLATED
from innkeeper.host.memory import GuestMemory
from innkeeper.isa.riscv.assembler import assemble

BASE = 0x8000_0000
LOOP = "loop: addi x5, x5, 1\nxor x6, x6, x5\njal x0, loop"
WALKS = "li x5, 1048576\nloop: addi x6, x6, 1\ncsrrw x7, mscratch, x6\ncsrrw x7, satp, x0\njal x0, loop"


def profile_of(program: str) -> Profile:
    """Run until there are some samples; by the processor time that the loop takes, not by the clock."""
    profile = Profile("loop")
    with GuestMemory(BASE, 1 << 20) as ram:
        ram.write(BASE, assemble(program))
        engine = ProfiledEngine(ram, profile)
        vcpu = engine.create_vcpu(0, ecall_exits=True)
        vcpu.reset(BASE, 3, 0, 0)

        def run() -> None:
            engine.begin()
            while engine.sample_count < 20:
                assert vcpu.run(1_000_000).reason == ExitReason.BUDGET

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        engine.close()
    return profile


def test_samples_of_a_loop_are_in_translated_code() -> None:
    profile = profile_of(LOOP)
    # Which tier, and how much beside it, is a matter of moments.
    assert profile.parts[TRANSLATED] + profile.parts[OPTIMISED] > 0
    assert profile.statistics["slices"] > 0
    assert profile.user_s > 0


def test_samples_of_system_instructions_are_in_native_functions() -> None:
    profile = profile_of(WALKS)
    assert profile.parts["traps, CSRs"] + profile.parts["page walks"] + profile.parts["dispatch"] > 0
    assert profile.functions.total() > 0


def test_table_and_rows() -> None:
    profile = Profile("work", Counter({TRANSLATED: 3, "Python": 1}), Counter({"translate": 1}), 3.0, 1.0)
    assert profile.kernel_share == 0.25
    text = table([profile])
    assert "work" in text and "75" in text
    (row,) = rows([profile])
    assert row["shares"] == {TRANSLATED: 0.75, "Python": 0.25} and row["samples"] == 4
