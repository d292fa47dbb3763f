# SPDX-License-Identifier: Apache-2.0
"""Runs a hart: slices, polls, and finding the code for a pc. The stubs of compiled code call `after_*`.

Each `after_*` function gives the address of the code to go on with. Where the hart must leave compiled code, that
is the exit stub, and EXIT_REASON says why.
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
    JUMP_CACHE,
    JUMP_ENTRIES,
    LINES,
    MXCSR,
    PAGE,
    RAM_DELTA,
    REMAINING,
    RUNNING,
    SHARED,
    STATISTICS,
    STUB_EXIT,
    STUBS,
    TIMER_DUE,
)
from innkeeper.ir.native import M64, Words, native, words_at
from innkeeper.isa.riscv.state import (
    BUDGET,
    EXIT_REASON,
    FAULT_TVAL,
    INSTRET,
    IPI_MAIL,
    IRQ_LINES,
    MIE,
    MIP,
    MSTATUS,
    OUTCOME_EXIT,
    PC,
    RESULT,
    SLICE,
    STOP,
    VIRTUAL_CLOCK,
)
from innkeeper.isa.riscv.translation import FETCH, translate
from innkeeper.isa.riscv.traps import mip_value, poll_interrupt, raise_exception, raise_illegal
from innkeeper.runtime.code import (
    code_page,
    drop_all_code,
    in_ram,
    lock,
    make_code_page,
    serve_requests,
    unlock,
)
from innkeeper.runtime.contexts import note_executed
from innkeeper.runtime.intrinsics import (
    address_of,
    atomic_exchange64,
    atomic_load64,
    atomic_store64,
    enter_code,
    load16,
    load32,
    load64,
    read_mxcsr,
    store32,
    store64,
    write_mxcsr,
)
from innkeeper.runtime.translator import translate_block
from innkeeper.spec.riscv import CAUSE_FETCH_ACCESS, MIP_MTIP, MIP_STIP, MSTATUS_FS

SLICE_LENGTH = 20_000
"""Instructions between two polls."""
EXIT_BUDGET = 0
EXIT_INTERRUPTED = 5
EXIT_STEP = 100
"""Not an ExitReason: the engine executes one instruction by its definition and goes on."""
EXIT_SLICE_END = 101
"""Not an ExitReason: the slice is over."""
TIMER_BITS = MIP_STIP | MIP_MTIP
SLICES = STATISTICS
LOOKUPS = STATISTICS + 3
SYSTEM_CALLS = STATISTICS + 6


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
    """Code for h[PC]; takes the trap if it cannot be fetched. BUDGET is exact, PC is that of an instruction."""
    h[LOOKUPS] = h[LOOKUPS] + 1
    while 1:
        pc = h[PC]
        h[PAGE] = pc & ~4095 & M64
        fault = translate(h, pc, FETCH)
        if fault == 0:
            pa = h[RESULT]
            if in_ram(h, pa, 2):
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
def raise_fetch(h: Words, cause: int, tval: int) -> int:
    """A fetch that faults is an attempt: it takes one from the budget; without budget nothing happens."""
    if h[BUDGET] == 0:
        return 0
    h[BUDGET] = h[BUDGET] - 1
    return raise_exception(h, cause, tval)


@native
def code_at(h: Words, e: Words, pc: int, pa: int) -> int:
    """Code for pc at pa, entered into the jump cache; 0 if a trap was taken instead."""
    code = 0
    lock(h, e)
    if pc & 4095 == 4094 and load16(pa + h[RAM_DELTA] & M64) & 3 == 3:
        code = crossing_code(h, e, pc, pa)
    else:
        code = block_at(h, e, pa)
    unlock(e)
    if code:
        note_executed(h, pc)
        entry = h[JUMP_CACHE] + 16 * (pc >> 1 & (JUMP_ENTRIES - 1))
        store64(entry, pc)
        store64(entry + 8, code)
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
def crossing_code(h: Words, e: Words, pc: int, pa: int) -> int:
    """Code for the instruction at pc whose second half is in the next page; 0 after a trap.

    Its code depends on its bits only, and is kept by them. Both pages are marked, so that a store is seen.
    """
    fault = translate(h, (pc + 2) & M64, FETCH)
    if fault == 0 and in_ram(h, h[RESULT], 2) == 0:
        fault = CAUSE_FETCH_ACCESS
        h[FAULT_TVAL] = (pc + 2) & M64
    if fault != 0:
        raise_fetch(h, fault, h[FAULT_TVAL])
        return 0
    second = h[RESULT]
    note_executed(h, (pc + 2) & M64)
    make_room(h, e)
    page = guarded_page(h, e, second)
    store64(page, load64(page) | 1)
    page = guarded_page(h, e, pa)
    store64(page, load64(page) | 1 << 63)
    word = load16(pa + h[RAM_DELTA] & M64) | load16(second + h[RAM_DELTA] & M64) << 16
    entry = e[CROSSING] + 16 * ((word ^ word >> 12) & (CROSSING_ENTRIES - 1))
    if load64(entry) != word:
        code = translate_block(h, e, pa, 1, word)
        store64(entry + 8, code)
        store64(entry, word)
    return load64(entry + 8)


@native
def after_lookup(h: Words, pc: int, s: int) -> int:
    """Compiled code goes on at pc, which its jump cache does not know."""
    h[PC] = pc
    return lookup(h)


@native
def after_chain(h: Words, target: int, slot: int) -> int:
    """A slot's first use: find the block at page offset `target` and let the slot go there."""
    h[PC] = (h[PAGE] + target) & M64
    return chain(h, words_at(h[SHARED]), slot)


@native
def chain(h: Words, e: Words, slot: int) -> int:
    """`lookup`, and patch the slot if it still exists and the page is still the one it is for."""
    pc = h[PC]
    flushes = e[FLUSH_COUNT]
    page = load64(slot + 8)
    code = lookup(h)
    lock(h, e)
    if h[PC] == pc and e[FLUSH_COUNT] == flushes and code != exit_stub(e):
        if translate(h, pc, FETCH) == 0 and h[RESULT] & ~4095 & M64 == page:
            atomic_store64(slot, code)
    unlock(e)
    return code


@native
def after_system(h: Words, outcome: int, s: int) -> int:
    """Behind a system instruction: leave if it says so, poll, go on at PC."""
    h[SYSTEM_CALLS] = h[SYSTEM_CALLS] + 1
    if outcome == OUTCOME_EXIT + EXIT_STEP:
        return leave(h, EXIT_STEP)
    h[BUDGET] = h[BUDGET] - 1
    if outcome >= OUTCOME_EXIT:
        return leave(h, outcome - OUTCOME_EXIT)
    due = (h[MIP] | h[IRQ_LINES] | h[TIMER_DUE]) & h[MIE]
    if due or h[IPI_MAIL] or h[VIRTUAL_CLOCK]:
        poll_interrupt(h)
    return continue_at(h)


@native
def continue_at(h: Words) -> int:
    """Code for PC by the jump cache, else `lookup`."""
    pc = h[PC]
    entry = h[JUMP_CACHE] + 16 * (pc >> 1 & (JUMP_ENTRIES - 1))
    if load64(entry) == pc:
        h[PAGE] = pc & ~4095 & M64
        return load64(entry + 8)
    return lookup(h)


@native
def after_budget(h: Words, offset: int, count: int) -> int:
    """A block asks for more than is left: end the slice, or at the run's end execute just what is left."""
    h[BUDGET] = (h[BUDGET] + count) & M64
    h[PC] = h[PAGE] + offset
    if h[BUDGET] == 0 or h[REMAINING] != 0:
        return leave(h, EXIT_SLICE_END)
    return partial_block(h, words_at(h[SHARED]))


@native
def partial_block(h: Words, e: Words) -> int:
    """A block of exactly BUDGET instructions at PC, for this one time."""
    pc = h[PC]
    fault = translate(h, pc, FETCH)
    if fault != 0 or in_ram(h, h[RESULT], 2) == 0:
        return lookup(h)
    lock(h, e)
    pa = h[RESULT]
    make_room(h, e)
    guarded_page(h, e, pa)
    h[PAGE] = pc & ~4095 & M64
    code = translate_block(h, e, pa, h[BUDGET], 0)
    unlock(e)
    return code


@native
def after_fp(h: Words, offset: int, count: int) -> int:
    """The first floating-point instruction of a block, with FS Off or a mode that the host does not have."""
    h[BUDGET] = (h[BUDGET] + count) & M64
    h[PC] = h[PAGE] + offset
    if h[MSTATUS] & MSTATUS_FS:
        return leave(h, EXIT_STEP)
    h[BUDGET] = h[BUDGET] - 1
    raise_illegal(h)
    return continue_at(h)


@native
def leave_for_step(h: Words) -> int:
    """For an instruction without a stencil."""
    return OUTCOME_EXIT + EXIT_STEP


@native
def take_illegal(h: Words) -> int:
    """For bits that are no instruction."""
    return raise_illegal(h)


@native
def after_exit(h: Words, a: int, s: int) -> int:
    """Never called: the exit stub leaves by itself."""
    return exit_stub(words_at(h[SHARED]))


@native
def run_hart(h: Words, budget: int) -> int:
    """Run for up to `budget` instructions; why it ended is also in EXIT_REASON."""
    atomic_exchange64(address_of(h) + 8 * RUNNING, 1)
    host_mxcsr = read_mxcsr()
    write_mxcsr(h[MXCSR])
    h[REMAINING] = budget
    reason = EXIT_SLICE_END
    while reason == EXIT_SLICE_END:
        reason = run_slice(h)
    h[MXCSR] = read_mxcsr()
    write_mxcsr(host_mxcsr)
    atomic_store64(address_of(h) + 8 * RUNNING, 0)
    h[EXIT_REASON] = reason
    return reason


@native
def run_slice(h: Words) -> int:
    """Poll, then run one slice; EXIT_SLICE_END to go on."""
    serve_requests(h)
    if atomic_load64(address_of(h) + 8 * STOP):
        atomic_store64(address_of(h) + 8 * STOP, 0)
        return EXIT_INTERRUPTED
    h[TIMER_DUE] = mip_value(h) & TIMER_BITS
    poll_interrupt(h)
    if h[REMAINING] == 0:
        return EXIT_BUDGET
    h[SLICES] = h[SLICES] + 1
    length = h[REMAINING] if h[REMAINING] < SLICE_LENGTH else SLICE_LENGTH
    h[REMAINING] = h[REMAINING] - length
    h[SLICE] = length
    h[BUDGET] = length
    h[EXIT_REASON] = EXIT_SLICE_END
    enter_code(h, continue_at(h))
    h[INSTRET] = (h[INSTRET] + h[SLICE] - h[BUDGET]) & M64
    h[REMAINING] = h[REMAINING] + h[BUDGET]
    h[SLICE] = 0
    h[BUDGET] = 0
    return h[EXIT_REASON]
