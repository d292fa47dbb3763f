# SPDX-License-Identifier: Apache-2.0
"""Arbitrary instructions in arbitrary states: every one ends in the state, a trap or an exit."""

from __future__ import annotations

import random

from innkeeper.engines.engine import ExitReason
from innkeeper.isa.riscv.decoder import decode
from innkeeper.isa.riscv.definition import INSTRUCTIONS
from innkeeper.isa.riscv.state import MSTATUS, MTVEC, PC, PRIV, SATP, SEPC, STVEC, F, X
from innkeeper.spec import riscv as spec
from tests.unit.engines.reference.one_vcpu import Bench
from tests.unit.isa.riscv.bare_hart import RAM_BASE, RAM_BYTES

CODE_WORDS = 64
CSRS = [number for name, number in vars(spec).items() if name.startswith("CSR_")]


def random_word(rng: random.Random) -> int:
    """An instruction: any bits, or a defined one with random fields."""
    if rng.random() < 0.2:
        return rng.getrandbits(32)
    encoding = rng.choice(list(INSTRUCTIONS.values())).encoding
    word = encoding.match | rng.getrandbits(32) & ~encoding.mask
    if encoding.field("csr") and rng.random() < 0.9:
        word = word & 0xFFFFF | rng.choice(CSRS) << 20
    return word


def random_value(rng: random.Random) -> int:
    kind = rng.randrange(4)
    if kind == 0:
        return RAM_BASE + rng.randrange(RAM_BYTES + 64)
    if kind == 1:
        return rng.choice([0, 1, (1 << 64) - 1, 1 << 63, 8 << 60 | RAM_BASE >> 12, 0x1000_0000])
    return rng.getrandbits(rng.choice([8, 32, 39, 56, 64]))


def test_random_programs_never_escape(rng: random.Random) -> None:
    decode(0)
    reasons = set()
    for _ in range(150):
        bench = Bench(privilege=rng.choice([0, 1, 3]))
        words, vcpu = bench.vcpu.words, bench.vcpu
        bench.ram.buffer[:0x8000] = rng.randbytes(0x8000)
        for handler in (MTVEC, STVEC, PC):
            words[handler] = RAM_BASE + rng.randrange(2, 8) * 0x1000
            bench.put(words[handler], [random_word(rng) for _ in range(CODE_WORDS)])
        for register in range(1, 32):
            words[X + register] = random_value(rng)
            words[F + register] = random_value(rng)
        words[MSTATUS] |= rng.getrandbits(23) & ~spec.MSTATUS_MPP
        words[SEPC] = random_value(rng) & ~1
        if rng.random() < 0.3:
            words[SATP] = rng.choice([8, 9, 10]) << 60 | RAM_BASE >> 12
            vcpu.flush()
        for _ in range(20):
            left = vcpu.run(30)
            reasons.add(left.reason)
            if left.reason == ExitReason.MMIO_READ:
                assert not RAM_BASE <= left.address < RAM_BASE + RAM_BYTES
                vcpu.complete_read(rng.getrandbits(64))
            elif left.reason == ExitReason.ECALL:
                vcpu.complete_ecall()
            elif left.reason == ExitReason.MMIO_WRITE:
                vcpu.raise_exception(7, left.address)
            assert words[X] == 0
            assert words[PC] & 1 == 0
            assert words[PRIV] in (0, 1, 3)
            assert words[MSTATUS] >> spec.MSTATUS_MPP_SHIFT & 3 != 2
    assert {ExitReason.BUDGET, ExitReason.MMIO_READ, ExitReason.MMIO_WRITE} <= reasons
