# SPDX-License-Identifier: Apache-2.0
"""Copies stencils and fills their holes; holds what a block needs behind its code. The lock is held.

`e` is the shared block. Code is written through its writable mapping (CODE_WRITE away) and never after it is
published; slots and sites are data.
"""

from __future__ import annotations

from innkeeper.codegen.layout import (
    BLOCK_PAGE,
    BUDGET_AT,
    CODE_BYTES,
    CODE_NEXT,
    CODE_WRITE,
    COLD_KIND,
    CONSTANT_BYTES,
    COUNT,
    COUNT_OPERAND,
    DATA_NEXT_FREE,
    EMITTED,
    FUNCTION_TABLE,
    GLUE,
    GLUE_BUDGET,
    GLUE_CHAIN,
    GLUE_FP,
    GLUE_MEMORY,
    GLUE_PAGE,
    GLUE_PAGE_REFUND,
    GLUE_SLOT,
    GLUE_SLOT_REFUND,
    HOLE_BUDGET,
    HOLE_BYTES,
    HOLE_COLD,
    HOLE_F,
    HOLE_NEXT,
    HOLE_NEXT_PC,
    HOLE_PC,
    HOLE_PC_IMM,
    HOLE_RAW,
    HOLE_SITE,
    HOLE_SLOT,
    HOLE_STUB,
    HOLE_TABLE,
    HOLE_TAKEN,
    HOLE_X,
    HOLE_XD,
    LENGTH,
    OFFSET,
    OPERANDS,
    RELOCATION_WORDS,
    RELOCATIONS,
    SITE,
    SITE_REMAINING,
    SLOT,
    STENCILS,
    STUBS,
    TARGET_OPERAND,
    THUNK_BUDGET,
    THUNK_COUNT,
    THUNK_FLOAT,
    THUNK_MEMORY,
    THUNK_TAKEN,
    THUNK_WORDS,
    THUNKS,
)
from innkeeper.ir.native import M64, Words, native
from innkeeper.isa.riscv.state import SCRAP, F
from innkeeper.runtime.intrinsics import copy_bytes, load64, store32, store64


@native
def emit(e: Words, stencil: int) -> int:
    """Copy a stencil to CODE_NEXT and fill its holes. EMITTED is where it begins."""
    facts = e[STENCILS] + stencil * 32
    start = e[CODE_NEXT]
    size = load64(facts + 8)
    e[EMITTED] = start
    copy_bytes((start + e[CODE_WRITE]) & M64, e[CODE_BYTES] + load64(facts), size)
    e[CODE_NEXT] = start + size
    at = e[RELOCATIONS] + load64(facts + 16) * (8 * RELOCATION_WORDS)
    for _i in range(load64(facts + 24)):
        fill(e, start, load64(at), load64(at + 8), load64(at + 16))
        at += 8 * RELOCATION_WORDS
    return 0


@native
def fill(e: Words, start: int, where: int, index: int, addend: int) -> int:
    """Fill one hole of the stencil at `start`."""
    place = start + (where & 0xFFFFFFFF)
    kind = where >> 32 & 0xFF
    value = hole_value(e, place, kind, index)
    if where >> 40 & 1:
        value = (value - place) & M64
    value = (value + addend) & M64
    target = (place + e[CODE_WRITE]) & M64
    if where >> 41 & 1:
        store64(target, value)
    else:
        store32(target, value)
    return 0


@native
def hole_value(e: Words, place: int, kind: int, index: int) -> int:
    """What goes into a hole; holes that are known only at the block's end are noted."""
    if kind == HOLE_X:
        return 8 * e[OPERANDS + index]
    if kind == HOLE_XD:
        return 8 * e[OPERANDS + index] if e[OPERANDS + index] else 8 * SCRAP
    if kind == HOLE_RAW:
        return e[OPERANDS + index]
    if kind == HOLE_COLD:
        return note_thunk(e, place, e[COLD_KIND])
    if kind == HOLE_F:
        return 8 * (F + e[OPERANDS + index])
    if kind == HOLE_PC:
        return e[OFFSET]
    if kind == HOLE_PC_IMM:
        return (e[OFFSET] + e[OPERANDS + index]) & M64
    if kind == HOLE_NEXT_PC:
        return e[OFFSET] + e[LENGTH]
    if kind == HOLE_TAKEN:
        return note_thunk(e, place, THUNK_TAKEN)
    if kind == HOLE_STUB:
        return e[STUBS + index]
    if kind == HOLE_TABLE:
        return e[FUNCTION_TABLE] + 8 * index
    if kind == HOLE_SLOT:
        return e[SLOT]
    if kind == HOLE_SITE:
        return e[SITE]
    if kind == HOLE_BYTES:
        return e[CONSTANT_BYTES]
    if kind == HOLE_BUDGET:
        e[BUDGET_AT] = place
        return 0
    if kind == HOLE_NEXT:
        return e[CODE_NEXT]
    return 0


@native
def note_thunk(e: Words, place: int, kind: int) -> int:
    """Remember that `place` wants to jump to a thunk of this kind, made when the block ends."""
    thunk = THUNKS + e[THUNK_COUNT] * THUNK_WORDS
    e[THUNK_COUNT] = e[THUNK_COUNT] + 1
    e[thunk] = place
    e[thunk + 1] = kind
    e[thunk + 2] = e[COUNT]
    e[thunk + 3] = e[OPERANDS + TARGET_OPERAND]
    e[thunk + 4] = e[SITE]
    return 0


@native
def patch_relative(e: Words, place: int, target: int) -> int:
    """Let the 32-bit relative jump whose displacement is at `place` go to `target`."""
    return store32((place + e[CODE_WRITE]) & M64, (target - place - 4) & M64)


@native
def emit_thunks(e: Words, total: int) -> int:
    """Make every noted thunk; `total` is the block's number of instructions."""
    for i in range(e[THUNK_COUNT]):
        thunk = THUNKS + i * THUNK_WORDS
        patch_relative(e, e[thunk], e[CODE_NEXT])
        kind = e[thunk + 1]
        count = e[thunk + 2]
        e[OPERANDS + TARGET_OPERAND] = e[thunk + 3]
        if kind == THUNK_MEMORY:
            e[SITE] = e[thunk + 4]
            store64(e[SITE] + 8 * SITE_REMAINING, total - count)
            emit(e, e[GLUE + GLUE_MEMORY])
        elif kind == THUNK_TAKEN:
            emit_goto(e, e[thunk + 3], total - count)
        elif kind == THUNK_FLOAT:
            e[OPERANDS + COUNT_OPERAND] = total - count + 1
            emit(e, e[GLUE + GLUE_FP])
        elif kind == THUNK_BUDGET:
            e[OPERANDS + COUNT_OPERAND] = total
            emit(e, e[GLUE + GLUE_BUDGET])
    return 0


@native
def emit_goto(e: Words, target: int, refund: int) -> int:
    """Go on at page offset `target`: through a slot inside the page, else by looking the address up.

    A slot holds the code to go to, first its own thunk that finds it, then the page it is valid for. An
    instruction that may cross the page's end has no fixed code.
    """
    e[OPERANDS + TARGET_OPERAND] = target
    e[OPERANDS + COUNT_OPERAND] = refund
    if target < 4094:
        e[SLOT] = e[DATA_NEXT_FREE]
        e[DATA_NEXT_FREE] = e[SLOT] + 16
        emit(e, e[GLUE + (GLUE_SLOT_REFUND if refund else GLUE_SLOT)])
        store64(e[SLOT], e[CODE_NEXT])
        store64(e[SLOT] + 8, e[BLOCK_PAGE])
        emit(e, e[GLUE + GLUE_CHAIN])
    else:
        emit(e, e[GLUE + (GLUE_PAGE_REFUND if refund else GLUE_PAGE)])
    return 0
