# SPDX-License-Identifier: Apache-2.0
"""Which instructions of a page make a region: basic blocks reachable from hot places, and where they go.

Offsets count bytes from the page's start. What is not in the region, or has no compiled form, is an exit: the
baseline tier goes on there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache

from innkeeper.codegen.stencil_ir import WRITES_FLOAT, Unsupported, check_supported
from innkeeper.isa.riscv.decoder import Decoded, decode, length_bytes
from innkeeper.isa.riscv.trace import Trace, trace
from innkeeper.spec.riscv import PAGE_BYTES

LIMIT_INSTRUCTIONS = 200
"""Instructions in one region at most; LLVM takes 0.3 to 0.6 ms for each."""
LIMIT_LOOKED_AT = 1024
"""Instructions among which those are chosen."""
LINK_REGISTERS = (1, 5)
"""Registers that hold return addresses. Spec: riscv-unpriv 20240411, 2.5.1 "Unconditional Jumps"."""


Register = tuple[str, int]
"""A letter and a number: x or f, or FLOAT_STATE."""
FLOAT_STATE: Register = ("d", 0)
"""Whether floating point was written: a word that is treated like a register."""


@dataclass(frozen=True)
class Site:
    """One instruction in its place."""

    offset: int
    decoded: Decoded
    trace: Trace

    @property
    def end(self) -> int:
        """Offset of the next instruction."""
        return self.offset + self.decoded.length_bytes

    @property
    def target(self) -> int | None:
        """Offset of a direct jump's or branch's target, which may lie outside the page; None: no such."""
        control = self.trace.control
        if control is None or control.op == "system" or "imm" not in self.decoded.operands:
            return None
        if self.decoded.instruction.name == "jalr":
            return None
        return self.offset + self.decoded.operands["imm"]

    @property
    def is_branch(self) -> bool:
        """Whether control may also go on behind it."""
        control = self.trace.control
        return control is not None and control.op == "branch"

    @property
    def is_plain(self) -> bool:
        """Whether it only computes, and quickly: it may be executed where its result is not wanted."""
        slow = self.decoded.instruction.name.startswith(("div", "rem"))
        return not slow and all(effect.op in ("read_x", "write_x") for effect in self.trace.effects)

    @property
    def links(self) -> bool:
        """Whether it is a call: the next instruction is where the callee returns to."""
        control = self.trace.control
        jump = control is not None and control.op == "jump"
        return jump and self.decoded.operands.get("rd", 0) in LINK_REGISTERS

    @property
    def is_return(self) -> bool:
        """Whether it jumps to what a link register holds."""
        operands = self.decoded.operands
        is_indirect = self.decoded.instruction.name == "jalr"
        return is_indirect and operands["rs1"] in LINK_REGISTERS and operands["imm"] == 0


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
    def holds(self) -> int:
        """A bit for each 2 bytes of the page where an instruction of the region begins."""
        return sum(1 << (site.offset >> 1) for block in self.blocks.values() for site in block.sites)

    @property
    def returns(self) -> tuple[int, ...]:
        """Where calls inside the region come back to, as far as that is in the region."""
        ends = {b.last.end for b in self.blocks.values() if b.last is not None and b.last.links}
        return tuple(sorted(end for end in ends if end in self.blocks and self.blocks[end].sites))


@lru_cache(maxsize=1024)
def _traced(name: str, rounding: int | None) -> Trace | None:
    """What the instruction does, or None where compiled code leaves it to the baseline tier."""
    import innkeeper.isa.riscv.instructions  # noqa: F401  (registers all definitions)
    from innkeeper.isa.riscv.definition import INSTRUCTIONS

    definition = INSTRUCTIONS[name]
    found = trace(definition, rounding)
    if found.control is not None and found.control.op == "system":
        return None
    try:
        check_supported(found, definition.operands)
    except Unsupported:
        return None
    return found


def site_at(page: bytes, offset: int) -> Site | None:
    """The instruction at `offset`; None where there is none that a region can hold."""
    if not 0 <= offset <= PAGE_BYTES - 2:
        return None
    word = int.from_bytes(page[offset : offset + 4], "little")
    if offset + length_bytes(word) > PAGE_BYTES:
        return None
    decoded = decode(word)
    if decoded is None:
        return None
    rounding = decoded.operands.get("rm")
    if rounding in (5, 6):
        return None
    found = _traced(decoded.instruction.name, rounding)
    return Site(offset, decoded, found) if found is not None else None


def shape_of(page: bytes, entries: tuple[int, ...], limit: int = LIMIT_INSTRUCTIONS) -> Shape:
    """The region around `entries`: the shortest ways round that come by one come first, up to `limit`
    instructions, then what is reached first."""
    sites = _reachable(page, entries)
    found = sorted(_nearest(sites, entries).items(), key=lambda item: item[1])[:limit]
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
            leaders.update(_successors(site))
        elif site.end in straight:
            leaders.add(site.end)
        else:
            straight.add(site.end)
    return leaders


def _reachable(page: bytes, entries: tuple[int, ...]) -> dict[int, Site]:
    """The instructions of the page that may be reached, up to some times what fits into a region."""
    found: dict[int, Site] = {}
    waiting = deque(entries)
    while waiting and len(found) < LIMIT_LOOKED_AT:
        at = waiting.popleft()
        site = site_at(page, at) if at not in found else None
        if site is not None:
            found[at] = site
            waiting += _successors(site)
    return found


def _nearest(sites: dict[int, Site], entries: tuple[int, ...]) -> dict[int, int]:
    """How far each instruction is from the entries: the length of the way round by it and an entry, where
    there is one; else, behind all of those, that of the way there."""
    forward = {at: [to for to in _successors(site) if to in sites] for at, site in sites.items()}
    backward: dict[int, list[int]] = {at: [] for at in sites}
    for at, successors in forward.items():
        for to in successors:
            backward[to].append(at)
    nearest = dict.fromkeys((entry for entry in entries if entry in sites), 0)
    for entry in nearest.copy():
        there, back = _distances(forward, entry), _distances(backward, entry)
        for at, distance in there.items():
            around = distance + back[at] if at in back else LIMIT_LOOKED_AT + distance
            nearest[at] = min(around, nearest.get(at, around))
    return nearest


def _distances(edges: dict[int, list[int]], start: int) -> dict[int, int]:
    """Steps from `start` to whatever is reached."""
    found = {start: 0}
    waiting = deque([start])
    while waiting:
        at = waiting.popleft()
        for to in edges[at]:
            if to not in found:
                found[to] = found[at] + 1
                waiting.append(to)
    return found


def _successors(site: Site) -> list[int]:
    """Offsets inside the page where control may go on, the usual way first."""
    target = site.target
    found = [target] if target is not None else []
    if site.trace.control is None or site.is_branch or site.links:
        found.append(site.end)
    return [at for at in found if 0 <= at < PAGE_BYTES]


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
