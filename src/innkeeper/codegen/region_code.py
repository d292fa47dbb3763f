# SPDX-License-Identifier: Apache-2.0
"""A compiled region as bytes that can be placed anywhere: code, constants, and where stubs are called.

By analogy to an object file: one section, with relocations to the engine's stubs only. What takes regions
from the cache imports this, and nothing that compiles.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from operator import index as whole

from innkeeper.codegen import layout as at
from innkeeper.spec.riscv import PAGE_BYTES

LIMIT_CODE_BYTES = 1 << 20
"""Code and constants of one region at most; 200 instructions take some ten thousand."""
LIMIT_BYTES = 2 * LIMIT_CODE_BYTES
"""A region as bytes at most."""
STUBS = ("lookup", "side")
"""What a region may jump to, as `STUB.name`."""
_STUBS = frozenset(at.STUB_NAMES.index(name) for name in STUBS)


@dataclass(frozen=True)
class RegionCode:
    """`code` with its constants; `stubs`: (offset of a 32-bit displacement, index of the stub, addend).

    `entries` are (offset in the guest's page, offset in `code`), `lines` the 64-byte lines of the page that
    it was made from, `holds` a bit for each 2 bytes of the page that is done here (`Flow.holds`). ValueError
    for what could not be put in place without harm.
    """

    code: bytes
    stubs: tuple[tuple[int, int, int], ...]
    entries: tuple[tuple[int, int], ...]
    lines: int
    holds: int = 0

    def __post_init__(self) -> None:
        size = len(self.code)
        stubs_good = all(
            0 <= place <= size - 4 and stub in _STUBS and -(1 << 31) <= addend < 1 << 31
            for place, stub, addend in self.stubs
        )
        entries_good = all(
            offset in range(0, PAGE_BYTES, 2) and 0 <= place < size and self.lines >> (offset >> 6) & 1
            for offset, place in self.entries
        )
        few = len(self.stubs) <= size and 0 < len(self.entries) <= PAGE_BYTES // 2
        if not (0 < size <= LIMIT_CODE_BYTES and few and 0 < self.lines < 1 << 64):
            raise ValueError("a region without code or entries, or a larger one than there may be")
        if not (stubs_good and entries_good and 0 <= self.holds < 1 << PAGE_BYTES // 2):
            raise ValueError("a region that reaches outside of itself")

    def has(self, offset: int) -> bool:
        """Whether the instruction at this offset of the page is in it."""
        return bool(self.holds >> (offset >> 1) & 1) or any(entry == offset for entry, _ in self.entries)

    def merged(self, other: RegionCode) -> RegionCode:
        """Both regions of one page as one; where both are entered, it is `other`.

        Regions are small, and programs have several hot places in a page.
        """
        start = -(-len(self.code) // at.REGION_ALIGNMENT) * at.REGION_ALIGNMENT
        stubs = tuple((place + start, stub, addend) for place, stub, addend in other.stubs)
        entries = dict(self.entries) | {offset: place + start for offset, place in other.entries}
        code = self.code.ljust(start, b"\xcc") + other.code
        lines, holds = self.lines | other.lines, self.holds | other.holds
        return RegionCode(code, self.stubs + stubs, tuple(sorted(entries.items())), lines, holds)

    def to_bytes(self) -> bytes:
        """A header line in JSON, then the code."""
        facts = {"stubs": self.stubs, "entries": self.entries, "lines": self.lines, "holds": self.holds}
        return json.dumps(facts).encode() + b"\n" + self.code

    @staticmethod
    def from_bytes(data: bytes) -> RegionCode:
        """What `to_bytes` gave. ValueError if it is something else."""
        header, _, code = data.partition(b"\n")
        try:
            facts = json.loads(header)
            stubs = tuple((whole(a), whole(b), whole(c)) for a, b, c in facts["stubs"])
            entries = tuple((whole(a), whole(b)) for a, b in facts["entries"])
            return RegionCode(code, stubs, entries, whole(facts["lines"]), whole(facts["holds"]))
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError("not a region") from error
