# SPDX-License-Identifier: Apache-2.0
"""Runs cases of `tests.differential.qemu.case` on the jit engine with its regions forced."""

from __future__ import annotations

import random
import zlib

from innkeeper.engines.jit import JitEngine
from tests.differential.engines.forced import RegionForcer, instruction_offsets, random_entries
from tests.differential.engines.runner import BUDGET, CODE_PAGES, EngineRunner
from tests.differential.qemu.case import PAGE_BYTES, Case

LATE_SLICES = (1, 2, 5)


class ForcedRunner(EngineRunner):
    """Forces regions in the pages of a case: one or two one after the other, mostly before the case runs, and
    between two of its slices where there are several.

    A case always gets the same regions, whatever the slices are, so that they are compiled once.
    """

    engine: JitEngine

    def __init__(self, *, slice_budget: int = BUDGET, late: bool = False) -> None:
        super().__init__(JitEngine, slice_budget=slice_budget)
        self.forcer = RegionForcer(self.engine)
        self._late = late
        self._slices = 0
        self._source = random.Random(0)

    def close(self) -> None:
        super().close()
        self.forcer.close()

    def before_run(self, case: Case) -> None:
        self._source = random.Random(zlib.crc32(case.code) + case.code_offset)
        self._slices = 0
        if not self._late:
            for _ in range(self._source.choice([1, 1, 2])):
                self._force(case)

    def between_slices(self, case: Case) -> None:
        """Where the regions come late they come wherever the case is then, of the code as it is then; and go
        for no reason, as by a device that writes."""
        self._slices += 1
        if self._late and self._slices in LATE_SLICES:
            self._force(case)
        elif self._late and self._source.random() < 0.1:
            self.engine.memory_written(self._source.choice(CODE_PAGES), PAGE_BYTES)
        elif self._late and self._source.random() < 0.1:
            self.engine.remote_fence(1, instruction=True)

    def _force(self, case: Case) -> None:
        offsets = instruction_offsets(
            bytes(case.code_offset) + case.code, case.code_offset, case.code_offset + len(case.code)
        )
        for number, address in enumerate(CODE_PAGES):
            inside = [o % PAGE_BYTES for o in offsets if o // PAGE_BYTES == number]
            if inside:
                self.forcer.force(address, random_entries(self._source, inside, (inside[0],)))
