# SPDX-License-Identifier: Apache-2.0
"""The software TLB and the jump caches, and what selects a mapping in them.

A data context is an identifier below 4096 for (satp, privilege, SUM, MXR); TLB tags carry it, so that a
change of context flushes nothing. A fetch context, for (satp, privilege), has a jump cache of its own.
Forgetting everything is forgetting which identifiers and caches are in use.
"""

from __future__ import annotations

from innkeeper.codegen.layout import (
    DATA_CONTEXT,
    DATA_CONTEXTS,
    DATA_KEYS,
    DATA_NEXT,
    EXECUTED,
    EXECUTED_BITS,
    FETCH_CONTEXTS,
    FETCH_KEYS,
    FETCH_NEXT,
    FETCH_TLB,
    FETCH_TLB_ENTRIES,
    FP_USABLE,
    JUMP_CACHE,
    JUMP_CACHES,
    JUMP_ENTRIES,
    JUMP_HIGH_SHIFT,
    JUMP_LOW_SHIFT,
    LARGE_HIGH,
    LARGE_LOW,
    NEXT_IDENTIFIER,
    NO_TAG,
    RAM_DELTA,
    STATISTICS,
    TLB,
    TLB_ADDEND,
    TLB_ENTRIES,
    TLB_ENTRY_WORDS,
    TLB_READ,
    TLB_WRITE,
)
from innkeeper.ir.native import M64, Words, native
from innkeeper.isa.riscv.state import FRM, LEAF_SHIFT, MSTATUS, PRIV, SATP
from innkeeper.isa.riscv.translation import LOAD, STORE, effective_privilege
from innkeeper.runtime.intrinsics import address_of, fill_bytes, store64
from innkeeper.spec.riscv import (
    MSTATUS_FS,
    MSTATUS_MPRV,
    MSTATUS_MXR,
    MSTATUS_SUM,
    PRIV_M,
    SATP_ASID_MASK,
    SATP_ASID_SHIFT,
    SATP_MODE_SHIFT,
)

TLB_FLUSHES = STATISTICS + 7
PAGE_FLUSHES = STATISTICS + 8
FETCH_FLUSHES = STATISTICS + 12
LAST_IDENTIFIER = 4094
"""With 4095, the tag of the last page of the address space would be NO_TAG."""
STATUS_FLAGS = MSTATUS_SUM | MSTATUS_MXR


@native
def contexts_changed(h: Words) -> int:
    """Choose the contexts that satp, privilege and mstatus now select; says also whether FP may run."""
    h[FP_USABLE] = 1 if h[MSTATUS] & MSTATUS_FS != 0 and h[FRM] < 4 else 0
    fetch_satp = 0 if h[PRIV] == PRIV_M or h[SATP] >> SATP_MODE_SHIFT == 0 else h[SATP]
    fetch_key = h[PRIV] + 1
    privilege = effective_privilege(h, LOAD)
    data_satp = 0 if privilege == PRIV_M or h[SATP] >> SATP_MODE_SHIFT == 0 else h[SATP]
    data_key = (h[MSTATUS] & STATUS_FLAGS | privilege) + 1
    select_fetch(h, fetch_satp, fetch_key)
    select_data(h, data_satp, data_key)
    return 0


@native
def select_fetch(h: Words, satp: int, key: int) -> int:
    """Make the jump cache of (satp, key) current; an unused or the oldest one is emptied for a new pair."""
    for i in range(FETCH_CONTEXTS):
        if h[FETCH_KEYS + 2 * i] == satp and h[FETCH_KEYS + 2 * i + 1] == key:
            h[JUMP_CACHE] = address_of(h) + 8 * (JUMP_CACHES + i * JUMP_ENTRIES * 2)
            return 0
    i = h[FETCH_NEXT] % FETCH_CONTEXTS
    h[FETCH_NEXT] = i + 1
    h[FETCH_KEYS + 2 * i] = satp
    h[FETCH_KEYS + 2 * i + 1] = key
    h[JUMP_CACHE] = address_of(h) + 8 * (JUMP_CACHES + i * JUMP_ENTRIES * 2)
    fill_bytes(h[JUMP_CACHE], 255, JUMP_ENTRIES * 16)
    return 0


@native
def select_data(h: Words, satp: int, key: int) -> int:
    """Make the identifier of (satp, key) current; a new pair gets a new one."""
    for i in range(DATA_CONTEXTS):
        if h[DATA_KEYS + 3 * i] == satp and h[DATA_KEYS + 3 * i + 1] == key:
            h[DATA_CONTEXT] = h[DATA_KEYS + 3 * i + 2]
            return 0
    i = h[DATA_NEXT] % DATA_CONTEXTS
    h[DATA_NEXT] = i + 1
    if h[NEXT_IDENTIFIER] >= LAST_IDENTIFIER:
        forget_data(h)
        h[NEXT_IDENTIFIER] = 0
        fill_bytes(address_of(h) + 8 * TLB, 255, TLB_ENTRIES * TLB_ENTRY_WORDS * 8)
        fill_bytes(address_of(h) + 8 * FETCH_TLB, 255, FETCH_TLB_ENTRIES * 16)
    h[NEXT_IDENTIFIER] = h[NEXT_IDENTIFIER] + 1
    h[DATA_KEYS + 3 * i] = satp
    h[DATA_KEYS + 3 * i + 1] = key
    h[DATA_KEYS + 3 * i + 2] = h[NEXT_IDENTIFIER]
    h[DATA_CONTEXT] = h[NEXT_IDENTIFIER]
    return 0


@native
def forget_data(h: Words) -> int:
    """No identifier is in use any more: every TLB entry is dead."""
    for i in range(DATA_CONTEXTS):
        h[DATA_KEYS + 3 * i + 1] = 0
    for half in range(2):
        h[LARGE_LOW + half] = M64
        h[LARGE_HIGH + half] = 0
    return 0


@native
def forget_fetch(h: Words) -> int:
    """No jump cache is in use any more."""
    h[FETCH_FLUSHES] = h[FETCH_FLUSHES] + 1
    for i in range(FETCH_CONTEXTS):
        h[FETCH_KEYS + 2 * i + 1] = 0
    fill_bytes(address_of(h) + 8 * EXECUTED, 0, EXECUTED_BITS // 8)
    return 0


@native
def forget_all(h: Words) -> int:
    """sfence.vma without operands; the contexts are chosen anew."""
    h[TLB_FLUSHES] = h[TLB_FLUSHES] + 1
    forget_data(h)
    forget_fetch(h)
    return contexts_changed(h)


@native
def forget_space(h: Words, asid: int) -> int:
    """Forget what one address space, and translation-free contexts, have."""
    h[TLB_FLUSHES] = h[TLB_FLUSHES] + 1
    for i in range(DATA_CONTEXTS):
        if h[DATA_KEYS + 3 * i] >> SATP_ASID_SHIFT & SATP_ASID_MASK == asid:
            h[DATA_KEYS + 3 * i + 1] = 0
    for i in range(FETCH_CONTEXTS):
        if h[FETCH_KEYS + 2 * i] >> SATP_ASID_SHIFT & SATP_ASID_MASK == asid:
            h[FETCH_KEYS + 2 * i + 1] = 0
    return contexts_changed(h)


@native
def forget_page(h: Words, va: int) -> int:
    """Forget one page in every context; everything if it may belong to a superpage."""
    half = va >> 63
    page = va >> 12
    if h[LARGE_LOW + half] <= page and page < h[LARGE_HIGH + half]:
        return forget_all(h)
    h[PAGE_FLUSHES] = h[PAGE_FLUSHES] + 1
    entry = TLB + (page & (TLB_ENTRIES - 1)) * TLB_ENTRY_WORDS
    h[entry + TLB_READ] = NO_TAG
    h[entry + TLB_WRITE] = NO_TAG
    h[FETCH_TLB + (page & (FETCH_TLB_ENTRIES - 1)) * 2] = NO_TAG
    bit = page & (EXECUTED_BITS - 1)
    if h[EXECUTED + (bit >> 6)] >> (bit & 63) & 1:
        forget_fetch(h)
        contexts_changed(h)
    return 0


@native
def jit_translations_flush(h: Words, va: int, has_va: int, asid: int, has_asid: int) -> int:
    """What sfence.vma asks for. With an address, its page is forgotten in every address space."""
    if has_va:
        return forget_page(h, va)
    if has_asid:
        return forget_space(h, asid)
    return forget_all(h)


@native
def note_executed(h: Words, pc: int, shift: int) -> int:
    """The page of pc, found through a leaf of `shift` bits, gets entries in a jump cache."""
    mark_executed(h, pc)
    return note_large(h, pc, shift)


@native
def mark_executed(h: Words, pc: int) -> int:
    """The page of pc gets entries in a jump cache."""
    bit = pc >> 12 & (EXECUTED_BITS - 1)
    h[EXECUTED + (bit >> 6)] = h[EXECUTED + (bit >> 6)] | 1 << (bit & 63)
    return 0


@native
def jump_entry(h: Words, pc: int) -> int:
    """Host address of the entry of the current jump cache where pc has its place."""
    number = (pc >> JUMP_LOW_SHIFT ^ pc >> JUMP_HIGH_SHIFT) & (JUMP_ENTRIES - 1)
    return h[JUMP_CACHE] + 16 * number


@native
def enter_jump(h: Words, pc: int, code: int) -> int:
    """Let jumps to pc go to `code`."""
    entry = jump_entry(h, pc)
    store64(entry, pc)
    return store64(entry + 8, code)


@native
def note_large(h: Words, va: int, shift: int) -> int:
    """Remember the superpage, if it is one, of `shift` bits that `va` is in."""
    if shift > 12:
        half = va >> 63
        low = va >> shift << (shift - 12)
        high = low + (1 << (shift - 12))
        if low < h[LARGE_LOW + half]:
            h[LARGE_LOW + half] = low
        if high > h[LARGE_HIGH + half]:
            h[LARGE_HIGH + half] = high
    return 0


@native
def tlb_fill(h: Words, va: int, pa: int, access: int) -> int:
    """Enter the page of `va`, which lies in RAM at the page of `pa`, for loads or stores."""
    page = va & ~4095 & M64
    entry = TLB + (va >> 12 & (TLB_ENTRIES - 1)) * TLB_ENTRY_WORDS
    addend = (pa + h[RAM_DELTA] - va) & M64
    tag = page | h[DATA_CONTEXT]
    if h[entry + TLB_ADDEND] != addend or (h[entry + TLB_READ] != tag and h[entry + TLB_WRITE] != tag):
        h[entry + TLB_READ] = NO_TAG
        h[entry + TLB_WRITE] = NO_TAG
        h[entry + TLB_ADDEND] = addend
    h[entry + (TLB_WRITE if access == STORE else TLB_READ)] = tag
    return note_large(h, va, h[LEAF_SHIFT])


@native
def fetch_fill(h: Words, pc: int, pa: int) -> int:
    """Enter the page of pc, which lies in RAM at the page of `pa`, for fetches.

    A data context stands for what selects the mapping of fetches too, but for MPRV.
    """
    if h[MSTATUS] & MSTATUS_MPRV == 0:
        entry = FETCH_TLB + (pc >> 12 & (FETCH_TLB_ENTRIES - 1)) * 2
        h[entry] = pc & ~4095 & M64 | h[DATA_CONTEXT]
        h[entry + 1] = (pa - pc) & M64
    return note_large(h, pc, h[LEAF_SHIFT])


@native
def fetch_address(h: Words, pc: int) -> int:
    """Guest-physical address of pc where the TLB knows it, else 0."""
    entry = FETCH_TLB + (pc >> 12 & (FETCH_TLB_ENTRIES - 1)) * 2
    if h[entry] != (pc & ~4095 & M64 | h[DATA_CONTEXT]) or h[MSTATUS] & MSTATUS_MPRV:
        return 0
    return (pc + h[entry + 1]) & M64


@native
def tlb_forbid_writes(h: Words, pa: int) -> int:
    """No entry may write to the physical page of `pa` any more."""
    host = (pa & ~4095) + h[RAM_DELTA]
    for i in range(TLB_ENTRIES):
        entry = TLB + i * TLB_ENTRY_WORDS
        tag = h[entry + TLB_WRITE]
        if tag != NO_TAG and ((tag & ~4095) + h[entry + TLB_ADDEND]) & M64 == host & M64:
            h[entry + TLB_WRITE] = NO_TAG
    return 0
