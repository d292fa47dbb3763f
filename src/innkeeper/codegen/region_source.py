# SPDX-License-Identifier: Apache-2.0
"""The instructions of a page as a region sees them: what each does, where control goes on, and how far it is.

Offsets count bytes from the page's start.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache

from innkeeper.codegen.stencil_ir import Unsupported, check_supported
from innkeeper.isa.riscv.decoder import Decoded, decode, length_bytes
from innkeeper.isa.riscv.trace import Trace, trace
from innkeeper.spec.riscv import PAGE_BYTES

LIMIT_LOOKED_AT = 1024
"""Instructions among which those of a region are chosen."""
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


def reachable(page: bytes, entries: tuple[int, ...]) -> dict[int, Site]:
    """The instructions of the page that may be reached, up to some times what fits into a region."""
    found: dict[int, Site] = {}
    waiting = deque(entries)
    while waiting and len(found) < LIMIT_LOOKED_AT:
        at = waiting.popleft()
        site = site_at(page, at) if at not in found else None
        if site is not None:
            found[at] = site
            waiting += successors(site)
    return found


def nearest(sites: dict[int, Site], entries: tuple[int, ...]) -> dict[int, int]:
    """How far each instruction is from the entries: the length of the way round by it and an entry, where
    there is one; else, behind all of those, that of the way there."""
    forward = {at: [to for to in successors(site) if to in sites] for at, site in sites.items()}
    backward: dict[int, list[int]] = {at: [] for at in sites}
    for at, following in forward.items():
        for to in following:
            backward[to].append(at)
    found = dict.fromkeys((entry for entry in entries if entry in sites), 0)
    for entry in found.copy():
        there, back = _distances(forward, entry), _distances(backward, entry)
        for at, distance in there.items():
            around = distance + back[at] if at in back else LIMIT_LOOKED_AT + distance
            found[at] = min(around, found.get(at, around))
    return found


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


def successors(site: Site) -> list[int]:
    """Offsets inside the page where control may go on, the usual way first."""
    target = site.target
    found = [target] if target is not None else []
    if site.trace.control is None or site.is_branch or site.links:
        found.append(site.end)
    return [at for at in found if 0 <= at < PAGE_BYTES]
