# SPDX-License-Identifier: Apache-2.0
"""Loads from devices end the same way on both engines, whatever register they go to."""

from __future__ import annotations

import pytest

from innkeeper.engines.engine import ExitReason
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from innkeeper.host.memory import GuestMemory
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.assembler import assemble
from innkeeper.isa.riscv.csrs import status_value
from innkeeper.isa.riscv.surroundings import HartWords
from innkeeper.spec.riscv import MSTATUS_FS

BASE, DEVICE, PRIV_M = 0x8000_0000, 0x1000_0000, 3
FS_CLEAN = 2 << 13
VALUE = 0x8765_4321_89AB_CDEF


@pytest.mark.parametrize("engine", [ReferenceEngine, JitEngine], ids=["reference", "jit"])
@pytest.mark.parametrize(
    ("load", "index", "expected"),
    [
        ("lb x3, 0(x1)", state.X + 3, 0xFFFF_FFFF_FFFF_FFEF),
        ("lhu x3, 0(x1)", state.X + 3, 0xCDEF),
        ("lw x0, 0(x1)", state.X, 0),
        ("ld x3, 0(x1)", state.X + 3, VALUE),
        ("flw f3, 0(x1)", state.F + 3, 0xFFFF_FFFF_89AB_CDEF),
        ("fld f3, 0(x1)", state.F + 3, VALUE),
    ],
)
def test_load_from_a_device(engine: type, load: str, index: int, expected: int) -> None:
    with GuestMemory(BASE, 1 << 16) as ram:
        ram.write(BASE, assemble(f"{load}; nop"))
        made = engine(ram)
        vcpu = made.create_vcpu(0, ecall_exits=False)
        vcpu.reset(BASE, PRIV_M, 0, 0)
        words = vcpu.words
        words[state.X + 1] = DEVICE
        words[state.MSTATUS] |= FS_CLEAN
        vcpu.flush()
        left = vcpu.run(2)
        assert (left.reason, left.address) == (ExitReason.MMIO_READ, DEVICE)
        vcpu.complete_read(VALUE)
        assert words[index] == expected
        assert (words[state.PC], words[state.INSTRET]) == (BASE + 4, 1)
        status = status_value(HartWords(words, None))  # type: ignore[arg-type]
        assert status & MSTATUS_FS == (MSTATUS_FS if load.startswith("f") else FS_CLEAN)
        made.close()
