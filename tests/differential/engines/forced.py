# SPDX-License-Identifier: Apache-2.0
"""The optimising tier forced on: regions compiled in this process and put in place before anything is hot.

Each region counts how often it is entered, so that a test can show that it did not run on the baseline tier
alone.
"""

from __future__ import annotations

import random
from functools import lru_cache

from innkeeper.codegen.region_code import RegionCode
from innkeeper.codegen.region_object import compile_region
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.jit.regions import RegionInstaller
from innkeeper.host.executable import DataArea
from innkeeper.isa.riscv.decoder import length_bytes
from innkeeper.spec.riscv import PAGE_BYTES

LIMIT_INSTRUCTIONS = 48
"""In a region of these tests: LLVM takes its time for each."""
compiled = lru_cache(maxsize=4096)(compile_region)
"""`compile_region`, once for each page and its entries."""


class RegionForcer:
    """Compiles pages of one engine's RAM and installs what comes out."""

    def __init__(self, engine: JitEngine) -> None:
        self._engine = engine
        self._installer = RegionInstaller(engine)
        self._counter = DataArea(PAGE_BYTES, low=True)
        self.installed = 0

    @property
    def entered(self) -> int:
        """How often a region was entered from outside."""
        return self._counter.words[0]

    def force(self, address: int, entries: tuple[int, ...]) -> bool:
        """Let the page at guest-physical `address` run as a region around `entries`; False: there is none."""
        page = self._engine.read_page(address)
        region = compiled(page, entries, LIMIT_INSTRUCTIONS)
        if region is None or not self._installer.install(address, page, self.counting(region)):
            return False
        self.installed += 1
        return True

    def counting(self, region: RegionCode) -> RegionCode:
        """The same region, entered through `lock inc` of the counter."""
        code, entries = bytearray(region.code), []
        for offset, place in region.entries:
            code += bytes(-len(code) % 16)
            entries.append((offset, len(code)))
            code += b"\xf0\x48\xff\x04\x25" + self._counter.address.to_bytes(4, "little")
            code += b"\xe9" + (place - len(code) - 5).to_bytes(4, "little", signed=True)
        return RegionCode(bytes(code), region.stubs, tuple(entries), region.lines)

    def close(self) -> None:
        """After the engine: its code counts here."""
        self._counter.close()


def instruction_offsets(code: bytes, start: int, end: int) -> list[int]:
    """Where instructions begin from `start` to `end`, as they follow each other."""
    found = []
    while start < end:
        found.append(start)
        start += length_bytes(int.from_bytes(code[start : start + 4], "little"))
    return found


def random_entries(
    source: random.Random, offsets: list[int], always: tuple[int, ...] = ()
) -> tuple[int, ...]:
    """Some of these offsets in a page, and those that are wanted `always`."""
    chosen = source.sample(offsets, min(len(offsets), source.randrange(4)))
    return tuple(sorted({*always, *chosen}))
