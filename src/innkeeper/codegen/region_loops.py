# SPDX-License-Identifier: Apache-2.0
"""The innermost loops of a region, in which registers are not stored as they are written.

Elsewhere a region stores what it writes at once, so that it can be left with no more than a jump. A loop that
holds no other loop is left rarely for each time that it goes round, so there the stores come where it is
left.
"""

from __future__ import annotations

from dataclasses import dataclass

from innkeeper.codegen.region_flow import Flow
from innkeeper.codegen.region_shape import accessed
from innkeeper.codegen.region_source import Register

LIMIT_INSTRUCTIONS = 64
"""A longer loop stores as it goes: it has many ways out, and gains little."""


@dataclass(frozen=True)
class Loop:
    """Offsets of its blocks, and the registers written in it, which are stored where it is left."""

    blocks: frozenset[int]
    written: tuple[Register, ...]


def inner_loops(flow: Flow) -> dict[int, Loop]:
    """By the offset of each block of an innermost loop, that loop."""
    found = {}
    for blocks in _innermost(flow, set(flow.successors)):
        size = sum(len(flow.shape.blocks[at].sites) for at in blocks)
        if size <= LIMIT_INSTRUCTIONS:
            written = {register for at in blocks for register in accessed(flow.shape.blocks[at])[1]}
            loop = Loop(frozenset(blocks), tuple(sorted(written)))
            found.update(dict.fromkeys(blocks, loop))
    return found


def _innermost(flow: Flow, among: set[int]) -> list[set[int]]:
    """The cycles in which nothing goes round without the blocks where they are entered."""
    found = []
    for blocks in _cycles(flow, among):
        heads = {at for at in blocks if flow.predecessors[at] - blocks} or {min(blocks)}
        inside = _innermost(flow, blocks - heads)
        found += inside or [blocks]
    return found


def _cycles(flow: Flow, among: set[int]) -> list[set[int]]:
    """The strongly connected parts of the blocks `among` that hold a cycle."""
    reached = {at: _reached(flow, at, among) for at in among}
    found, done = [], set()
    for at in sorted(among):
        if at not in done and at in reached[at]:
            part = {other for other in reached[at] if at in reached[other]}
            done |= part
            found.append(part)
    return found


def _reached(flow: Flow, start: int, among: set[int]) -> set[int]:
    seen: set[int] = set()
    waiting = [at for at in flow.successors[start] if at in among]
    while waiting:
        at = waiting.pop()
        if at not in seen:
            seen.add(at)
            waiting += [successor for successor in flow.successors[at] if successor in among]
    return seen
