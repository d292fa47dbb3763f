# SPDX-License-Identifier: Apache-2.0
"""Finding the code for a pc: jump cache, translated blocks, translation, and the traps of a fetch.

Functions here give the address of code to go on with. The lock is taken inside.
"""

from __future__ import annotations

from innkeeper.codegen.layout import (
    BLOCK_CODE_BYTES,
    BLOCK_DATA_BYTES,
    BLOCK_LIMIT,
    CODE_END,
    CODE_NEXT,
    CROSSING,
    CROSSING_ENTRIES,
    DATA_END,
    DATA_NEXT_FREE,
    FLUSH_COUNT,
    LINES,
    PAGE,
    RAM_DELTA,
    SHARED,
    STATISTICS,
    STUB_EXIT,
    STUBS,
)
from innkeeper.ir.native import M64, Words, native, words_at
from innkeeper.isa.riscv.state import (
    BUDGET,
    EXIT_REASON,
    FAULT_TVAL,
    LEAF_SHIFT,
    PC,
    RESULT,
)
from innkeeper.isa.riscv.translation import FETCH, translate
from innkeeper.isa.riscv.traps import raise_exception
from innkeeper.runtime.code import (
    code_page,
    drop_all_code,
    in_ram,
    lines_of,
    lock,
    make_code_page,
    unlock,
)
from innkeeper.runtime.contexts import (
    enter_jump,
    fetch_address,
    fetch_fill,
    jump_entry,
    mark_executed,
    note_executed,
)
from innkeeper.runtime.intrinsics import (
    load16,
    load32,
    load64,
    store32,
    store64,
)
from innkeeper.runtime.translator import translate_block
from innkeeper.spec.riscv import CAUSE_FETCH_ACCESS

EXIT_SLICE_END = 101
"""Not an ExitReason: the slice is over."""
LOOKUPS = STATISTICS + 3
WALKED_LOOKUPS = STATISTICS + 13


@native
def leave(h: Words, reason: int) -> int:
    """The code that leaves compiled code."""
    h[EXIT_REASON] = reason
    return exit_stub(words_at(h[SHARED]))


@native
def exit_stub(e: Words) -> int:
    """Address of the exit stub."""
    return e[STUBS + STUB_EXIT]


@native
def lookup(h: Words) -> int:
    """Code for h[PC]; takes the trap if it cannot be fetched. BUDGET is exact, PC is that of an
    instruction."""
    h[LOOKUPS] = h[LOOKUPS] + 1
    known = known_code(h, words_at(h[SHARED]), h[PC])
    if known:
        return known
    h[WALKED_LOOKUPS] = h[WALKED_LOOKUPS] + 1
    while 1:
        pc = h[PC]
        h[PAGE] = pc & ~4095 & M64
        fault = translate(h, pc, FETCH)
        if fault == 0:
            pa = h[RESULT]
            if in_ram(h, pa, 2):
                fetch_fill(h, pc, pa)
                code = code_at(h, words_at(h[SHARED]), pc, pa)
                if code:
                    return code
            else:
                raise_fetch(h, CAUSE_FETCH_ACCESS, pc)
        else:
            raise_fetch(h, fault, h[FAULT_TVAL])
        if h[BUDGET] == 0 or h[BUDGET] >> 63:
            h[BUDGET] = 0
            return leave(h, EXIT_SLICE_END)
    return 0


@native
def known_code(h: Words, e: Words, pc: int) -> int:
    """Code for pc that needs neither a page walk nor a translation, entered into the jump cache; else 0.

    Without the lock: code is thrown away only after this hart has served a request.
    """
    pa = fetch_address(h, pc)
    page = code_page(h, e, pa) if pa else 0
    code = load32(page + 8 + 4 * ((pa & 4095) >> 1)) if page else 0
    if code:
        h[PAGE] = pc & ~4095 & M64
        mark_executed(h, pc)
        enter_jump(h, pc, code)
    return code


@native
def raise_fetch(h: Words, cause: int, tval: int) -> int:
    """A fetch that faults is an attempt: it takes one from the budget; without budget nothing happens."""
    if h[BUDGET] == 0:
        return 0
    h[BUDGET] = h[BUDGET] - 1
    return raise_exception(h, cause, tval)


@native
def code_at(h: Words, e: Words, pc: int, pa: int) -> int:
    """Code for pc at pa, entered into the jump cache; 0 if a trap was taken instead, or it is to be looked up
    again."""
    shift = h[LEAF_SHIFT]
    crosses = 0
    if pc & 4095 == 4094 and load16(pa + h[RAM_DELTA] & M64) & 3 == 3:
        if second_half(h, (pc + 2) & M64):
            return 0
        crosses = 1
    second = h[RESULT]
    code = 0
    if lock(h, e) == 0:
        code = crossing_code(h, e, pa, second) if crosses else block_at(h, e, pa)
    unlock(e)
    if code:
        if crosses:
            note_executed(h, (pc + 2) & M64, h[LEAF_SHIFT])
        note_executed(h, pc, shift)
        enter_jump(h, pc, code)
    return code


@native
def make_room(h: Words, e: Words) -> int:
    """Throw all code away if the next block might not fit."""
    if e[CODE_NEXT] + BLOCK_CODE_BYTES > e[CODE_END] or e[DATA_NEXT_FREE] + BLOCK_DATA_BYTES > e[DATA_END]:
        drop_all_code(h, e)
    return 0


@native
def guarded_page(h: Words, e: Words, pa: int) -> int:
    """The code page of `pa`, made if there is none."""
    page = make_code_page(h, e, pa)
    if page == 0:
        drop_all_code(h, e)
        page = make_code_page(h, e, pa)
    return page


@native
def block_at(h: Words, e: Words, pa: int) -> int:
    """Code of the block at `pa`, translated if need be. The lock is held."""
    page = code_page(h, e, pa)
    if page:
        have = load32(page + 8 + 4 * ((pa & 4095) >> 1))
        if have:
            return have
    make_room(h, e)
    page = guarded_page(h, e, pa)
    code = translate_block(h, e, pa, BLOCK_LIMIT, 0)
    store64(page, load64(page) | e[LINES])
    store32(page + 8 + 4 * ((pa & 4095) >> 1), code)
    return code


@native
def second_half(h: Words, va: int) -> int:
    """Translate the second half of an instruction; 1 if that is a trap, which is taken."""
    fault = translate(h, va, FETCH)
    if fault == 0 and in_ram(h, h[RESULT], 2) == 0:
        fault = CAUSE_FETCH_ACCESS
        h[FAULT_TVAL] = va
    if fault != 0:
        raise_fetch(h, fault, h[FAULT_TVAL])
        return 1
    return 0


@native
def mark_line(h: Words, e: Words, pa: int) -> int:
    """There is code of the line of `pa`."""
    page = guarded_page(h, e, pa)
    return store64(page, load64(page) | lines_of(pa, 1))


@native
def crossing_code(h: Words, e: Words, pa: int, second: int) -> int:
    """Code for the instruction at pa whose second half is at `second`, in another page. The lock is held.

    Its code depends on its bits only, and is kept by them. Both pages are marked, so that a store is seen.
    """
    make_room(h, e)
    flushes = e[FLUSH_COUNT]
    mark_line(h, e, second)
    mark_line(h, e, pa)
    if e[FLUSH_COUNT] != flushes:
        mark_line(h, e, second)
    word = load16(pa + h[RAM_DELTA] & M64) | load16(second + h[RAM_DELTA] & M64) << 16
    entry = e[CROSSING] + 16 * ((word ^ word >> 12) & (CROSSING_ENTRIES - 1))
    if load64(entry) != word:
        code = translate_block(h, e, pa, 1, word)
        store64(entry + 8, code)
        store64(entry, word)
    return load64(entry + 8)


@native
def continue_at(h: Words) -> int:
    """Code for PC by the jump cache, else `lookup`."""
    pc = h[PC]
    entry = jump_entry(h, pc)
    if load64(entry) == pc:
        h[PAGE] = pc & ~4095 & M64
        return load64(entry + 8)
    return lookup(h)


@native
def partial_block(h: Words, e: Words) -> int:
    """A block of exactly BUDGET instructions at PC, for this one time."""
    pc = h[PC]
    fault = translate(h, pc, FETCH)
    if fault != 0 or in_ram(h, h[RESULT], 2) == 0:
        return lookup(h)
    pa = h[RESULT]
    code = 0
    if lock(h, e) == 0:
        make_room(h, e)
        guarded_page(h, e, pa)
        h[PAGE] = pc & ~4095 & M64
        code = translate_block(h, e, pa, h[BUDGET], 0)
    unlock(e)
    return code if code else lookup(h)


