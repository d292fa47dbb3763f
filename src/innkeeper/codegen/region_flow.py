# SPDX-License-Identifier: Apache-2.0
"""How control flows in a region: where the budget has to be looked at, and what can do without a branch.

The budget is looked at where the region is entered, and in *checked* blocks, of which every cycle has one.
There it must last for the longest way to the next checked block; where it does not, the baseline tier goes
on, exactly.
"""

from __future__ import annotations

from innkeeper.codegen.region_shape import Block, Shape, accessed
from innkeeper.codegen.region_source import Register

HAMMOCK_INSTRUCTIONS = 3
"""A branch over so few computing instructions is turned into selections: it costs more to mispredict."""


MAX_LOOP_ENTRIES = 48


def with_loop_entries(shape: Shape) -> Shape:
    """The shape entered at its loops: the baseline tier, once in a loop, comes by nowhere else.

    It comes by where it jumps back to. Entries elsewhere in a loop are left out: LLVM knows loops by their
    having one way in, and makes poor code of others.
    """
    flow = Flow(shape)
    looping = flow.looping()
    back = {to for at, found in flow.successors.items() for to in found if to <= at} & looping
    outside = {entry for entry in shape.entries if entry not in looping} | shape.resumed
    loops = sorted(back - outside)[:MAX_LOOP_ENTRIES]
    return Shape(shape.blocks, tuple(sorted({*outside, *loops})))


class Flow:
    """Facts of one shape."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.successors = {at: shape.successors(b) for at, b in shape.blocks.items() if b.sites}
        self.predecessors: dict[int, set[int]] = {at: set() for at in self.successors}
        for at, found in self.successors.items():
            for successor in found:
                self.predecessors[successor].add(at)
        self.checked = self._loop_heads()
        self._costs: dict[int, int] = {}

    def _loop_heads(self) -> set[int]:
        """Targets of the edges that go back in a walk from the entries."""
        heads: set[int] = set()
        done: set[int] = set()
        for entry in self.shape.entries:
            path, way = {entry}, [(entry, iter(self.successors[entry]))]
            while way:
                at, rest = way[-1]
                following = next(rest, None)
                if following is None:
                    way.pop()
                    path.discard(at)
                    done.add(at)
                elif following in path:
                    heads.add(following)
                elif following not in done:
                    path.add(following)
                    way.append((following, iter(self.successors[following])))
        return heads

    def looping(self) -> set[int]:
        """The blocks from which control may come back to them."""
        found = set()
        for start in self.successors:
            seen: set[int] = set()
            waiting = list(self.successors[start])
            while waiting and start not in seen:
                at = waiting.pop()
                if at not in seen:
                    seen.add(at)
                    waiting += self.successors[at]
            if start in seen:
                found.add(start)
        return found

    def holds(self) -> int:
        """A bit for each 2 bytes of the page where an instruction begins that is done here from now on.

        Those are the ones in loops, which the baseline tier comes to where they begin, and entries. To others
        it may come by ways that do not lead through here.
        """
        inside = [site.offset for at in self.looping() for site in self.shape.blocks[at].sites]
        return sum(1 << (offset >> 1) for offset in {*inside, *self.shape.entries})

    def cost(self, at: int) -> int:
        """Instructions on the longest way from the block at `at` to the next checked block."""
        if at not in self._costs:  # as deep as the way has blocks, which LIMIT_INSTRUCTIONS bounds
            further = [self.cost(s) for s in self.successors[at] if s not in self.checked]
            self._costs[at] = len(self.shape.blocks[at].sites) + max(further, default=0)
        return self._costs[at]

    def live_registers(self, kept: dict[int, tuple[Register, ...]]) -> dict[int, set[Register]]:
        """By block, the registers whose value at its start may be read: what an entry has to load.

        `kept` are, by block, registers that are stored when their loop is left, written or not.
        """
        reads, writes = {}, {}
        for at in self.successors:
            reads[at], writes[at] = accessed(self.shape.blocks[at])
            reads[at] |= set(kept.get(at, ()))
        for block in self.shape.blocks.values():
            inner = self.hammock(block)
            if inner is not None:  # what it writes is selected from what was there
                reads[inner.offset] |= writes[inner.offset]
        live = {at: set(found) for at, found in reads.items()}
        changed = True
        while changed:
            changed = False
            for at in self.successors:
                for successor in self.successors[at]:
                    more = live[successor] - writes[at] - live[at]
                    if more:
                        live[at] |= more
                        changed = True
        return live

    def hammock(self, block: Block) -> Block | None:
        """The block that the branch at the end of `block` jumps over, if it can do without a branch."""
        last = block.last
        if last is None or not last.is_branch:
            return None
        inner = self.shape.blocks.get(last.end)
        if inner is None or not 0 < len(inner.sites) <= HAMMOCK_INSTRUCTIONS:
            return None
        if inner.offset in self.checked or inner.offset in self.shape.entries:
            return None
        over = inner.end == last.target and self.predecessors[inner.offset] == {block.offset}
        return inner if over and all(site.is_plain for site in inner.sites) else None
