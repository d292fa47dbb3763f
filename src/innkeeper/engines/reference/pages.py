# SPDX-License-Identifier: Apache-2.0
"""Translations that the reference engine remembers: virtual page to physical page, for RAM only.

They are kept apart by everything that selects a mapping, so that a trap or a context switch forgets nothing.
"""

from __future__ import annotations

from innkeeper.isa.riscv.state import MSTATUS, PMP_ACTIVE, PMPCFG, PRIV, SATP
from innkeeper.spec.riscv import MSTATUS_MPP, MSTATUS_MPRV, MSTATUS_MXR, MSTATUS_SUM

_STATUS = MSTATUS_SUM | MSTATUS_MXR | MSTATUS_MPRV | MSTATUS_MPP
_CONTEXTS = 64
"""Contexts kept at most; beyond it all are forgotten."""

Pages = dict[int, int]


class PageCache:
    """Three maps (fetch, load, store) of the selected context: va >> 12 to the physical page's address."""

    def __init__(self) -> None:
        self._contexts: dict[object, tuple[Pages, Pages, Pages]] = {}
        self.maps: tuple[Pages, Pages, Pages] = ({}, {}, {})

    def select(self, words: memoryview) -> None:
        """Use the context that the hart's words select."""
        protection = words[PMPCFG:PMP_ACTIVE].tobytes() if words[PMP_ACTIVE] else b""
        key = (words[PRIV], words[MSTATUS] & _STATUS, words[SATP], protection)
        found = self._contexts.get(key)
        if found is None:
            if len(self._contexts) >= _CONTEXTS:
                self._contexts.clear()
            found = self._contexts[key] = ({}, {}, {})
        self.maps = found

    def flush(self, words: memoryview) -> None:
        """Forget everything."""
        self._contexts.clear()
        self.select(words)
