# SPDX-License-Identifier: Apache-2.0
"""One instruction on any hart's words: what another engine falls back on for what it does not compile."""

from __future__ import annotations

from innkeeper.engines.reference.hart import ReferenceHart
from innkeeper.engines.reference.pages import PageCache
from innkeeper.engines.reference.ram import Memory
from innkeeper.isa.riscv.surroundings import HartWords


def step(h: HartWords, memory: Memory, answer: int | None = None) -> int:
    """Execute the instruction at h[PC] with all that belongs to it: fetch, traps, privileged effects.

    `memory` is usually `h.surroundings` itself (see `RamSurroundings`). `answer` is what a device gave to
    the load that left with MMIO_READ before. BUDGET is read (by counters) and not written; interrupts are
    not looked at. Returns as `ReferenceHart.step` does.
    """
    hart = ReferenceHart(h, memory, PageCache())
    hart.answer = answer
    return hart.step()
