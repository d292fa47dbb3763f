# SPDX-License-Identifier: Apache-2.0
"""Runs a hart: slices, polls, and finding the code for a pc. The stubs of compiled code call `after_*`.

Each `after_*` function gives the address of the code to go on with. Where the hart must leave compiled
code, that is the exit stub, and EXIT_REASON says why.
"""

from __future__ import annotations

from innkeeper.codegen.layout import (
    FLUSH_COUNT,
    MXCSR,
    PAGE,
    REMAINING,
    RUNNING,
    SHARED,
    STATISTICS,
    TIMER_DUE,
)
from innkeeper.ir.native import M64, Words, native, words_at
from innkeeper.isa.riscv.state import (
    BUDGET,
    EXIT_REASON,
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
from innkeeper.isa.riscv.traps import mip_value, poll_interrupt, raise_illegal
from innkeeper.runtime.code import (
    lock,
    serve_requests,
    unlock,
)
from innkeeper.runtime.intrinsics import (
    address_of,
    atomic_exchange64,
    atomic_load64,
    atomic_store64,
    enter_code,
    load64,
    read_mxcsr,
    write_mxcsr,
)
from innkeeper.runtime.lookup import EXIT_SLICE_END, continue_at, exit_stub, leave, lookup, partial_block
from innkeeper.runtime.regions import note_sample
from innkeeper.spec.riscv import MIP_MTIP, MIP_STIP, MSTATUS_FS

SLICE_LENGTH = 20_000
"""Instructions between two polls."""
EXIT_BUDGET = 0
EXIT_INTERRUPTED = 5
EXIT_STEP = 100
"""Not an ExitReason: the engine executes one instruction by its definition and goes on."""
TIMER_BITS = MIP_STIP | MIP_MTIP
SLICES = STATISTICS
SYSTEM_CALLS = STATISTICS + 6


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
    page = load64(slot + 8)
    flushes = e[FLUSH_COUNT]
    code = lookup(h)
    if code == exit_stub(e):
        return code
    void = lock(h, e)
    stands = void == 0 and h[PC] == pc and e[FLUSH_COUNT] == flushes
    if stands and translate(h, pc, FETCH) == 0 and h[RESULT] & ~4095 & M64 == page:
        atomic_store64(slot, code)
    unlock(e)
    # Whoever waits for the lock lets others throw code away, and has forgotten the translation of pc.
    return lookup(h) if void else code


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
def after_budget(h: Words, offset: int, count: int) -> int:
    """A block asks for more than is left: end the slice, or at the run's end execute just what is left."""
    h[BUDGET] = (h[BUDGET] + count) & M64
    h[PC] = h[PAGE] + offset
    if h[BUDGET] == 0 or h[REMAINING] != 0:
        note_sample(h, words_at(h[SHARED]))
        return leave(h, EXIT_SLICE_END)
    return partial_block(h, words_at(h[SHARED]))


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
    if h[REMAINING] == 0:
        return EXIT_BUDGET
    h[TIMER_DUE] = mip_value(h) & TIMER_BITS
    poll_interrupt(h)
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
