# SPDX-License-Identifier: Apache-2.0
"""Translations and protection that change while the engine remembers them."""

from __future__ import annotations

import pytest

from innkeeper.isa.riscv.state import (
    MCAUSE,
    MTVAL,
    PMPADDR,
    PRIV,
    REQUEST,
    SATP,
    SCAUSE,
    SEPC,
    X,
)
from innkeeper.spec.riscv import PRIV_M, PRIV_S
from tests.unit.engines.reference.one_vcpu import NOP, Bench
from tests.unit.isa.riscv.bare_hart import CODE, RAM_BASE, encode


def paged(bench: Bench, target: int) -> None:
    """Sv39 with RAM where it is (user and supervisor code apart) and 0x4000_0000 mapped to `target`."""
    root = RAM_BASE + 0x4000
    bench.ram.put(root + 8, (root + 0x1000) >> 12 << 10 | 1)
    bench.ram.put(root + 16, RAM_BASE >> 12 << 10 | 0xCF)
    bench.ram.put(root + 0x1000, (root + 0x2000) >> 12 << 10 | 1)
    bench.ram.put(root + 0x2000, target >> 12 << 10 | 0xC7)
    bench.vcpu.words[SATP] = 8 << 60 | root >> 12
    bench.vcpu.flush()


@pytest.mark.parametrize("how", ["sfence", "flush", "remote_fence", "request", "satp"])
def test_a_changed_mapping_is_seen_after_a_fence(how: str) -> None:
    load = encode("ld", rd=3, rs1=1)
    program = {
        "sfence": [load, encode("sfence.vma"), load],
        "satp": [load, encode("csrrw", csr=0x180, rs1=7), load],
    }
    bench = Bench(program.get(how, [load, NOP, load]))
    one, two = RAM_BASE + 0x8000, RAM_BASE + 0x9000
    bench.ram.put(one, 1)
    bench.ram.put(two, 2)
    paged(bench, one)
    bench.vcpu.words[X + 1] = 0x4000_0000
    bench.vcpu.run(1)
    assert bench.vcpu.words[X + 3] == 1
    if how == "satp":
        root = RAM_BASE + 0xC000
        for table in range(3):
            at = RAM_BASE + 0x4000 + 0x1000 * table
            bench.ram.buffer[root - RAM_BASE + 0x1000 * table :][:4096] = bench.ram.buffer[at - RAM_BASE :][
                :4096
            ]
        bench.ram.put(root + 0x8, (root + 0x1000) >> 12 << 10 | 1)
        bench.ram.put(root + 0x1000, (root + 0x2000) >> 12 << 10 | 1)
        bench.ram.put(root + 0x2000, two >> 12 << 10 | 0xC7)
        bench.vcpu.words[X + 7] = 8 << 60 | 5 << 44 | root >> 12
    else:
        bench.ram.put(RAM_BASE + 0x6000, two >> 12 << 10 | 0xC7)
    if how == "flush":
        bench.vcpu.flush()
    elif how == "remote_fence":
        bench.engine.remote_fence(1, instruction=False)
    elif how == "request":
        bench.vcpu.words[REQUEST] += 1
    bench.vcpu.run(2)
    assert bench.vcpu.words[X + 3] == 2


def test_what_the_kernel_may_read_the_user_may_not() -> None:
    """A page that S-mode has used is not open to U-mode behind its back."""
    bench = Bench([encode("ld", rd=3, rs1=1), encode("sret")])
    paged(bench, RAM_BASE + 0x8000)
    bench.vcpu.words[X + 1] = 0x4000_0000
    bench.vcpu.words[SEPC] = CODE
    bench.vcpu.run(3)
    assert (bench.vcpu.words[SCAUSE], bench.vcpu.words[SEPC]) == (12, CODE), "supervisor code in U-mode"
    assert bench.vcpu.words[PRIV] == PRIV_S


def test_protection_changes_are_seen() -> None:
    bench = Bench(
        [encode("ld", rd=3, rs1=1), encode("csrrw", csr=0x3A0, rs1=5), encode("ld", rd=3, rs1=1)], PRIV_M
    )
    bench.vcpu.words[X + 1], bench.vcpu.words[X + 5] = RAM_BASE + 0x8000, 0x9C
    bench.vcpu.words[PMPADDR] = (1 << 54) - 1
    bench.vcpu.run(3)
    assert (bench.vcpu.words[MCAUSE], bench.vcpu.words[MTVAL]) == (5, RAM_BASE + 0x8000)
