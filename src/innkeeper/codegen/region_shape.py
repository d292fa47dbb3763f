# SPDX-License-Identifier: Apache-2.0
"""Which instructions of a page make a region: basic blocks reachable from hot places, and where they go.

Offsets count bytes from the page's start. What is not in the region, or has no compiled form, is an exit: the
baseline tier goes on there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from innkeeper.codegen.stencil_ir import Unsupported, check_supported
from innkeeper.isa.riscv.decoder import Decoded, decode, length_bytes
from innkeeper.isa.riscv.trace import Trace, trace
from innkeeper.spec.riscv import PAGE_BYTES

LIMIT_INSTRUCTIONS = 200
"""Instructions in one region at most; LLVM takes 0.3 to 0.6 ms for each."""
LINK_REGISTERS = (1, 5)
"""Registers that hold return addresses. Spec: riscv-unpriv 20240411, 2.5.1 "Unconditional Jumps"."""


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
    """The region around `entries`: what is reached first comes first, up to `limit` instructions."""
    sites: dict[int, Site] = {}
    leaders = set(entries)
    waiting = list(entries)
    while waiting and len(sites) < limit:
        at = waiting.pop(0)
        while at not in sites and len(sites) < limit:
            site = site_at(page, at)
            if site is None:
                break
            sites[at] = site
            at = site.end
            if site.trace.control is not None:
                found = _successors(site)
                leaders.update(found)
                waiting += found
                break
        else:
            if at in sites:
                leaders.add(at)
    blocks = _cut(sites, leaders)
    outside = {site.end for site in sites.values() if site.links and site.target not in blocks}
    again = {at for at in outside if at in blocks and blocks[at].sites}
    return Shape(blocks, tuple(sorted({*(e for e in entries if blocks[e].sites), *again})))


def _successors(site: Site) -> list[int]:
    """Offsets inside the page where control may go on, the usual way first."""
    target = site.target
    found = [target] if target is not None else []
    if site.is_branch or site.links:
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
