# SPDX-License-Identifier: Apache-2.0
"""Decodes guest instructions and makes a block of compiled code from them. The lock is held.

A block is entered at its first instruction only, pays for all its instructions there, and goes on behind a
conditional branch that is not taken; a taken one refunds what was not executed. It ends at a jump, a system
instruction, the page's end or BLOCK_LIMIT.
"""

from __future__ import annotations

from innkeeper.codegen.layout import (
    BLOCK_OFFSET,
    BLOCK_PAGE,
    BUCKETS,
    BUDGET_AT,
    CANDIDATES,
    CODE_NEXT,
    CODE_WRITE,
    COLD_KIND,
    COUNT,
    DATA_NEXT_FREE,
    EMITTED,
    ENTRIES,
    ENTRY_FIELD_COUNT,
    ENTRY_FIELDS,
    ENTRY_MASK,
    ENTRY_MATCH,
    ENTRY_OPERATION,
    ENTRY_WORDS,
    FIELDS,
    FLAG_BRANCH,
    FLAG_END,
    FLAG_FLOAT,
    FLAG_JUMP,
    FLAG_MEMORY,
    FLAG_PURE,
    FLAG_WRITES_FLOAT,
    FLOAT_DIRTY,
    FLOAT_SEEN,
    GLUE,
    GLUE_ENTRY,
    GLUE_FP_CHECK,
    GLUE_FP_DIRTY,
    GLUE_ILLEGAL,
    GLUE_STEP,
    KIND_LOAD,
    LENGTH,
    LINES,
    NARROW,
    NO_STENCIL,
    OFFSET,
    OPERANDS,
    OPERATION_FLAGS,
    OPERATION_MEMORY,
    OPERATION_RD,
    OPERATION_STENCIL,
    OPERATION_TARGET,
    OPERATION_WORDS,
    OPERATIONS,
    RAM_DELTA,
    SITE,
    SITE_INFO,
    SITE_NEXT,
    SITE_RETRY,
    SITE_WORDS,
    STATISTICS,
    TARGET_OPERAND,
    THUNK_BUDGET,
    THUNK_COUNT,
    THUNK_FLOAT,
    THUNK_MEMORY,
)
from innkeeper.ir.native import M64, Words, native
from innkeeper.isa.riscv.state import SCRAP, F
from innkeeper.runtime.emitter import emit, emit_goto, emit_thunks
from innkeeper.runtime.intrinsics import load16, load32, load64, store32, store64

BLOCKS = STATISTICS + 4
TRANSLATED = STATISTICS + 5
BLOCK_ENDS = FLAG_JUMP | FLAG_END


@native
def find_entry(e: Words, word: int) -> int:
    """Address of the decoding entry for the instruction, or 0 where nothing is defined."""
    if word & 3 != 3:
        number = load16(e[NARROW] + 2 * (word & 0xFFFF))
        return e[ENTRIES] + (number - 1) * (8 * ENTRY_WORDS) if number else 0
    bucket = load64(e[BUCKETS] + 8 * ((word >> 2 & 31) | (word >> 12 & 7) << 5))
    at = e[CANDIDATES] + 8 * (bucket & 0xFFFFFFFF)
    for i in range(bucket >> 32):
        entry = e[ENTRIES] + load64(at + 8 * i) * (8 * ENTRY_WORDS)
        if word & load64(entry + 8 * ENTRY_MASK) == load64(entry + 8 * ENTRY_MATCH):
            return entry
    return 0


@native
def extract_operands(e: Words, entry: int, word: int) -> int:
    """Put the operands of the instruction into OPERANDS."""
    at = e[FIELDS] + 8 * load64(entry + 8 * ENTRY_FIELDS)
    for i in range(load64(entry + 8 * ENTRY_FIELD_COUNT)):
        head = load64(at)
        value = 0
        at += 16
        for _j in range(head & 0xFF):
            move = load64(at)
            value = value | (word >> (move & 0xFF) & ((1 << (move >> 16)) - 1)) << (move >> 8 & 0xFF)
            at += 8
        sign = head >> 8
        if sign:
            value = ((value ^ 1 << sign) - (1 << sign)) & M64
        e[OPERANDS + i] = (value + load64(at - 8 * (head & 0xFF) - 8)) & M64
    return 0


@native
def translate_block(h: Words, e: Words, pa: int, limit: int, crossing: int) -> int:
    """Compile the block at `pa` (in RAM), at most `limit` instructions; its code's address.

    `crossing` is not 0 for an instruction of 4 bytes that begins 2 bytes before the page's end: its bits.
    """
    start = e[CODE_NEXT]
    begin_block(e, pa)
    ended = 0
    while ended == 0 and e[COUNT] < limit and e[OFFSET] < 4096:
        host = (pa & ~4095) + e[OFFSET] + h[RAM_DELTA] & M64
        word = crossing if crossing else load16(host)
        if word & 3 == 3 and crossing == 0:
            if e[OFFSET] == 4094:
                break
            word = load32(host)
        e[LENGTH] = 4 if word & 3 == 3 else 2
        e[COUNT] = e[COUNT] + 1
        e[OPERANDS + TARGET_OPERAND] = e[OFFSET]
        ended = translate_instruction(e, word)
        e[LINES] = e[LINES] | 1 << (e[OFFSET] >> 6) | 1 << ((e[OFFSET] + e[LENGTH] - 1) >> 6 & 63)
        e[OFFSET] = e[OFFSET] + e[LENGTH]
    if ended == 0:
        emit_goto(e, e[OFFSET], 0)
    total = e[COUNT]
    store32((e[BUDGET_AT] + e[CODE_WRITE]) & M64, total)
    emit_thunks(e, total)
    e[CODE_NEXT] = (e[CODE_NEXT] + 15) & ~15
    h[BLOCKS] = h[BLOCKS] + 1
    h[TRANSLATED] = h[TRANSLATED] + total
    return start


@native
def begin_block(e: Words, pa: int) -> int:
    """Start at CODE_NEXT with the block's entry."""
    e[BLOCK_PAGE] = pa & ~4095 & M64
    e[BLOCK_OFFSET] = pa & 4095
    e[OFFSET] = pa & 4095
    e[COUNT] = 0
    e[THUNK_COUNT] = 0
    e[LINES] = 0
    e[FLOAT_SEEN] = 0
    e[FLOAT_DIRTY] = 0
    e[OPERANDS + TARGET_OPERAND] = e[OFFSET]
    e[COLD_KIND] = THUNK_BUDGET
    return emit(e, e[GLUE + GLUE_ENTRY])


@native
def translate_instruction(e: Words, word: int) -> int:
    """Emit one instruction; 1 if the block ends with it."""
    entry = find_entry(e, word)
    if entry == 0:
        emit(e, e[GLUE + GLUE_ILLEGAL])
        return 1
    extract_operands(e, entry, word)
    operation = e[OPERATIONS] + load64(entry + 8 * ENTRY_OPERATION) * (8 * OPERATION_WORDS)
    flags = load64(operation + 8 * OPERATION_FLAGS)
    if flags & FLAG_FLOAT and e[FLOAT_SEEN] == 0:
        e[FLOAT_SEEN] = 1
        e[COLD_KIND] = THUNK_FLOAT
        emit(e, e[GLUE + GLUE_FP_CHECK])
    stencil = load64(operation + 8 * OPERATION_STENCIL)
    if stencil == NO_STENCIL:
        emit(e, e[GLUE + GLUE_STEP])
        return 1
    if flags & FLAG_MEMORY:
        emit_memory(e, operation, stencil)
    elif flags & FLAG_PURE == 0 or e[OPERANDS + load64(operation + 8 * OPERATION_RD)] != 0:
        if flags & FLAG_BRANCH:
            e[OPERANDS + TARGET_OPERAND] = jump_target(e, operation)
        emit(e, stencil)
    if flags & FLAG_WRITES_FLOAT and e[FLOAT_DIRTY] == 0:
        e[FLOAT_DIRTY] = 1
        emit(e, e[GLUE + GLUE_FP_DIRTY])
    if flags & FLAG_JUMP:
        emit_goto(e, jump_target(e, operation), 0)
    return 1 if flags & BLOCK_ENDS else 0


@native
def jump_target(e: Words, operation: int) -> int:
    """Page offset of a direct jump's target; may lie outside the page (wraps below)."""
    return (e[OFFSET] + e[OPERANDS + load64(operation + 8 * OPERATION_TARGET)]) & M64


@native
def emit_memory(e: Words, operation: int, stencil: int) -> int:
    """Emit an instruction that accesses memory, with the site for its slow path."""
    facts = load64(operation + 8 * OPERATION_MEMORY)
    site = e[DATA_NEXT_FREE]
    e[DATA_NEXT_FREE] = site + 8 * SITE_WORDS
    register = e[OPERANDS + (facts >> 12 & 15)]
    if facts >> 16 & 1:
        register += F
    elif register == 0 and facts & 15 == KIND_LOAD:
        register = SCRAP
    info = e[OFFSET] | e[LENGTH] << 12 | (facts & 0xFFF) << 16 | register << 32
    e[SITE] = site
    e[COLD_KIND] = THUNK_MEMORY
    emit(e, stencil)
    store64(site + 8 * SITE_INFO, info)
    store64(site + 8 * SITE_RETRY, e[EMITTED])
    store64(site + 8 * SITE_NEXT, e[CODE_NEXT])
    return 0
