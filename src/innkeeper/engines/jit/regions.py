# SPDX-License-Identifier: Apache-2.0
"""Puts compiled regions among the translated code of one engine."""

from __future__ import annotations

from array import array
from collections import deque

from innkeeper.codegen import layout as at
from innkeeper.codegen.region_code import RegionCode
from innkeeper.engines.jit.engine import JitEngine
from innkeeper.spec.riscv import PAGE_BYTES

MAX_SPANS = 8192


class RegionInstaller:
    """From any one thread, while harts run."""

    def __init__(self, engine: JitEngine) -> None:
        self._engine = engine
        self._install = engine.function("install_region", 2, releases_gil=True)
        self._has = engine.function("has_region", 2)
        self.spans: deque[range] = deque(maxlen=MAX_SPANS)
        """Where the code of the last regions is; what came there after a full code area hides older ones."""

    def has_region(self, address: int) -> bool:
        """Whether a region is entered at guest-physical `address`; dropped code takes regions along."""
        return self._is_ram(address) and bool(self._has(self._engine.observer_address, address))

    def _is_ram(self, address: int) -> bool:
        ram = self._engine.ram
        return ram.base <= address < ram.base + ram.size_bytes

    def install(self, page_address: int, source: bytes, region: RegionCode) -> bool:
        """Let the page at guest-physical `page_address`, which was `source`, run as `region`.

        False if the page is not what it was, or there is no room.
        """
        if len(source) != PAGE_BYTES or page_address % PAGE_BYTES or not self._is_ram(page_address):
            raise ValueError("a region is of one page of RAM")
        held, code = array("Q", source), array("B", region.code)
        words = array("Q", [0] * at.REGION_LIST)
        words[at.REGION_PA] = page_address
        words[at.REGION_SOURCE] = held.buffer_info()[0]
        words[at.REGION_CODE] = code.buffer_info()[0]
        words[at.REGION_BYTES] = len(code)
        words[at.REGION_LINES] = region.lines
        words[at.REGION_STUBS], words[at.REGION_ENTRIES] = len(region.stubs), len(region.entries)
        for offset, stub, addend in region.stubs:
            words.extend((offset, stub, addend & (1 << 64) - 1))
        for place in region.entries:
            words.extend(place)
        start = self._install(self._engine.observer_address, words.buffer_info()[0])
        if start:
            self.spans.append(range(start, start + len(code)))
        return bool(start)
