# SPDX-License-Identifier: Apache-2.0
"""An engine for bare-metal programs that puts regions where a hart is, again and again, before it goes on."""

from __future__ import annotations

from innkeeper.engines.engine import GuestRam
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.jit.vcpu import JitVcpu
from innkeeper.isa.riscv import state
from innkeeper.spec.riscv import PAGE_BYTES
from tests.differential.engines.forced import RegionForcer

ENTRIES = 8
RUNS = 3
"""A page gets a region at its first runs that begin at places which are no entries yet."""


class ForcedVcpu(JitVcpu):
    """Before each run the page of code that it begins in becomes a region."""

    def run(self, budget: int):  # type: ignore[no-untyped-def]
        engine = self._engine
        assert isinstance(engine, ForcedSystemEngine)
        engine.force(self.words[state.PC])
        return super().run(budget)


class ForcedSystemEngine(JitEngine):
    """Programs run from RAM that is mapped as it is, so that a pc is its own address."""

    entered = 0
    """By all engines of this kind that are closed."""

    def __init__(self, ram: GuestRam) -> None:
        super().__init__(ram)
        self._forcer = RegionForcer(self)
        self._places: dict[int, list[int]] = {}

    def create_vcpu(self, index: int, *, ecall_exits: bool, instructions_per_tick: int = 0) -> JitVcpu:
        made = super().create_vcpu(
            index, ecall_exits=ecall_exits, instructions_per_tick=instructions_per_tick
        )
        made.__class__ = ForcedVcpu
        return made

    def force(self, pc: int) -> None:
        """Let the page of `pc` run as a region around this and earlier places."""
        if not 0 <= pc - self.ram.base < self.ram.size_bytes:
            return
        page, offset = pc & -PAGE_BYTES, pc % PAGE_BYTES
        places = self._places.setdefault(page, [])
        if offset not in places and len(places) < RUNS:
            places.append(offset)
            entries = {(offset + 64 * i) % PAGE_BYTES for i in range(ENTRIES)} | set(places)
            self._forcer.force(page, tuple(sorted(entries)))

    def close(self) -> None:
        super().close()
        type(self).entered += self._forcer.entered
        self._forcer.close()
