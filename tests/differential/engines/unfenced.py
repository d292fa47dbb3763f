# SPDX-License-Identifier: Apache-2.0
"""Programs whose outcome the architecture leaves open: they execute what they stored without a fence.i."""

from __future__ import annotations

from innkeeper.engines.reference.engine import ReferenceEngine
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.decoder import length_bytes
from tests.differential.engines.alias_runner import AliasRunner
from tests.differential.engines.runner import CODE_PAGES
from tests.differential.qemu.case import CODE_ADDRESS, PAGE_BYTES, Case

FENCE_I, FENCE_I_MASK = 0x0000100F, 0x0000707F


class UnfencedRunner(AliasRunner):
    """Goes one instruction at a time and sees which bytes of the code each one changed.

    Spec: riscv-unprivileged, "Zifencei": "RISC-V does not guarantee that stores to instruction memory will be
    made visible to instruction fetches on a RISC-V hart until that hart executes a FENCE.I instruction."
    """

    def __init__(self) -> None:
        super().__init__(ReferenceEngine, slice_budget=1)
        self._code = b""
        self._stored: set[int] = set()
        self.unfenced = False

    def executes_unfenced(self, case: Case) -> bool:
        """Whether the program executes bytes that it stored since the last fence.i before them."""
        self.run_one(case)
        return self.unfenced

    def before_run(self, case: Case) -> None:
        self._code, self._stored, self.unfenced = self._now(), set(), False
        self._look()

    def between_slices(self, case: Case) -> None:
        now = self._now()
        if now != self._code:
            pairs = enumerate(zip(self._code, now, strict=True))
            self._stored |= {offset for offset, (before, after) in pairs if before != after}
            self._code = now
        self._look()

    def _now(self) -> bytes:
        return b"".join(self.ram.read(page, PAGE_BYTES) for page in CODE_PAGES)

    def _look(self) -> None:
        """At the instruction that comes next."""
        offset = self.vcpu.words[state.PC] - CODE_ADDRESS
        if not 0 <= offset < len(self._code) - 1:
            return
        word = int.from_bytes(self._code[offset : offset + 4], "little")
        if not self._stored.isdisjoint(range(offset, offset + length_bytes(word))):
            self.unfenced = True
        if word & FENCE_I_MASK == FENCE_I:
            self._stored.clear()
