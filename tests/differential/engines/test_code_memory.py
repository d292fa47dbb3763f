# SPDX-License-Identifier: Apache-2.0
"""A guest that writes new code without end does not make its VMM grow without end.

By default some ten seconds of it; INNKEEPER_CODE_PAGES says how many pages of new code the guest runs.
"""

from __future__ import annotations

import os
from pathlib import Path

from innkeeper.engines.engine import ExitReason
from innkeeper.engines.jit.compile_server import CompileServer
from innkeeper.engines.jit.engine import AreaSizes, JitEngine
from innkeeper.engines.jit.optimizer import MAX_REFUSED
from innkeeper.engines.jit.region_cache import RegionCache
from innkeeper.isa.riscv.assembler import assemble
from innkeeper.isa.riscv.state import X
from tests.unit.runtime.guest import BASE, PAGE, GuardedRam

PAGES = int(os.environ.get("INNKEEPER_CODE_PAGES", "48000"))
RAM_PAGES = 4096
FIRST = BASE + 16 * PAGE
SLICE = 4_000_000
HOT_EVERY = 64
"""Each so many pages' code runs long enough to be compiled."""
GROWTH_BYTES = 24 << 20
"""What Python and the compiler may keep for themselves while code is thrown away several times."""
SIZES = AreaSizes(code_bytes=8 << 20, site_bytes=16 << 20, code_pages=2048)

WRITER = f"""
        lui x20, {FIRST >> 12:#x}
        slli x20, x20, 32
        srli x20, x20, 32
        lui x21, {RAM_PAGES - 32}
        add x21, x21, x20
        addi x22, x20, 0
        addi x23, x0, 1
page:   addi x5, x22, 0
        addi x6, x0, 400
        andi x25, x23, 2047
        slli x25, x25, 20
        lui x26, 0x28
        add x25, x25, x26
        addi x25, x25, 0x293
fill:   sw x25, 0(x5)
        addi x5, x5, 4
        addi x6, x6, -1
        bne x6, x0, fill
        lui x25, 8
        addi x25, x25, 0x67
        sw x25, 0(x5)
        fence.i
        andi x26, x23, {HOT_EVERY - 1}
        addi x7, x0, 1
        bne x26, x0, run
        lui x7, 2
run:    jalr x1, 0(x22)
        addi x7, x7, -1
        bne x7, x0, run
        addi x23, x23, 1
        lui x26, 1
        add x22, x22, x26
        bltu x22, x21, page
        addi x22, x20, 0
        jal x0, page
"""
"""x23 counts pages. Each is filled with 400 times `addi x5, x5, COUNT` and a return, and run."""


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run_until(engine: JitEngine, pages: int) -> None:
    vcpu = engine.vcpus[0]
    while vcpu.words[X + 23] < pages:
        assert vcpu.run(SLICE).reason == ExitReason.BUDGET


def test_code_that_is_new_for_ever(tmp_path: Path) -> None:
    ram = GuardedRam(RAM_PAGES * PAGE)
    ram.write(BASE, assemble(WRITER))
    server = CompileServer(RegionCache(tmp_path / "code", "test"))
    engine = JitEngine(ram, SIZES)
    engine.start_optimizer(server.region, lambda: None)
    vcpu = engine.create_vcpu(0, ecall_exits=False)
    vcpu.reset(BASE, 3, 0, 0)
    run_until(engine, PAGES // 3)
    before, flushes = resident_bytes(), engine.statistics()["code_flushes"]
    run_until(engine, PAGES)
    grown = resident_bytes() - before
    optimizer = engine.optimizer
    assert optimizer is not None
    print(f"{engine.statistics()}, {optimizer.installed} regions, {grown >> 10} KiB more")
    assert engine.statistics()["code_flushes"] - flushes >= 3
    assert optimizer.installed > 0
    assert grown < GROWTH_BYTES
    assert len(optimizer._refused) <= MAX_REFUSED
    engine.close()
    assert ram.intact
