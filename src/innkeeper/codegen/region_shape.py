# SPDX-License-Identifier: Apache-2.0
"""Which instructions of a page make a region: basic blocks reachable from hot places, and where they go.

Offsets count bytes from the page's start. What is not in the region, or has no compiled form, is an exit: the
baseline tier goes on there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from innkeeper.codegen.region_source import (
    FLOAT_STATE,
    Register,
    Site,
    nearest,
    reachable,
    successors,
)
from innkeeper.codegen.stencil_ir import WRITES_FLOAT

LIMIT_INSTRUCTIONS = 200
"""Instructions in one region at most; LLVM takes 0.3 to 0.6 ms for each."""


@dataclass
class Block:
    """Straight code: entered at its start, left at its end. An empty one is an exit at `offset`."""

    offset: int
    sites: list[Site] = field(default_factory=list)

    @property
    def end(self) -> int:
        """Offset behind the last instruction."""
        return self.sites[-1].end if self.sites else self.offset

    @property
    def last(self) -> Site | None:
        """The jump or branch that ends it, if one does."""
        if self.sites and self.sites[-1].trace.control is not None:
            return self.sites[-1]
        return None


@dataclass
class Shape:
    """A region: its blocks by offset, and the offsets at which it is entered from outside."""

    blocks: dict[int, Block]
    entries: tuple[int, ...]

    def successors(self, block: Block) -> list[int]:
        """The blocks with code where control may go on from `block`, inside the region."""
        last = block.last
        if last is None:
            found = [block.end]
        elif last.is_return:
            found = list(self.returns)
        elif last.target is None:
            found = []
        else:
            found = [last.target]
            if last.is_branch:
                found.append(last.end)
        return [at for at in found if at in self.blocks and self.blocks[at].sites]

    @property
    def resumed(self) -> set[int]:
        """Where control comes back from calls that leave the region."""
        calls = [site for block in self.blocks.values() for site in block.sites if site.links]
        ends = {site.end for site in calls if site.target not in self.blocks}
        return {at for at in ends if at in self.blocks and self.blocks[at].sites}

    @property
    def instruction_count(self) -> int:
        """Instructions in all blocks."""
        return sum(len(block.sites) for block in self.blocks.values())

    @property
    def lines(self) -> int:
        """A bit for each 64-byte line of the page that holds an instruction of the region."""
        found = 0
        for block in self.blocks.values():
            if block.sites:
                first, last = block.offset >> 6, block.end - 1 >> 6
                found |= (2 << (last - first)) - 1 << first
        return found

    @property
    def returns(self) -> tuple[int, ...]:
        """Where calls inside the region come back to, as far as that is in the region."""
        ends = {b.last.end for b in self.blocks.values() if b.last is not None and b.last.links}
        return tuple(sorted(end for end in ends if end in self.blocks and self.blocks[end].sites))


def shape_of(page: bytes, entries: tuple[int, ...], limit: int = LIMIT_INSTRUCTIONS) -> Shape:
    """The region around `entries`: the shortest ways round that come by one come first, up to `limit`
    instructions, then what is reached first."""
    sites = reachable(page, entries)
    found = sorted(nearest(sites, entries).items(), key=lambda item: item[1])[:limit]
    chosen = {at: sites[at] for at, _ in found}
    blocks = _cut(chosen, _leaders(chosen, entries))
    shape = Shape(blocks, tuple(e for e in entries if blocks[e].sites))
    return Shape(blocks, tuple(sorted({*shape.entries, *shape.resumed})))


def _leaders(sites: dict[int, Site], entries: tuple[int, ...]) -> set[int]:
    """Where blocks begin: entries, behind jumps and branches and at their targets, and where straight ways
    meet (the same bytes can be read as different instructions)."""
    leaders, straight = set(entries), set[int]()
    for site in sites.values():
        if site.trace.control is not None:
            leaders.update(successors(site))
        elif site.end in straight:
            leaders.add(site.end)
        else:
            straight.add(site.end)
    return leaders


def _cut(sites: dict[int, Site], leaders: set[int]) -> dict[int, Block]:
    """Blocks from each leader to the next leader or transfer of control; leaders without code are empty."""
    blocks = {}
    for leader in leaders:
        block = Block(leader)
        at = leader
        while at in sites:
            block.sites.append(sites[at])
            at = sites[at].end
            if block.sites[-1].trace.control is not None or at in leaders:
                break
        blocks[leader] = block
    return blocks


def accessed(block: Block) -> tuple[set[Register], set[Register]]:
    """What a block reads before it writes it, and what it writes."""
    reads: set[Register] = set()
    writes: set[Register] = set()
    for site in block.sites:
        for effect in site.trace.effects:
            if effect.op in WRITES_FLOAT:
                writes.add(FLOAT_STATE)
            verb, _, letter = effect.op.partition("_")
            if letter not in ("x", "f"):
                continue
            register = (letter, site.decoded.operands[str(effect.attr)])
            if verb == "read" and register not in writes:
                reads.add(register)
            elif verb == "write" and register != ("x", 0):
                writes.add(register)
    return reads, writes
