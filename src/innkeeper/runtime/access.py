# SPDX-License-Identifier: Apache-2.0
"""The slow path of loads, stores and atomics.

Compiled code comes here on a TLB miss, with the site of the access. It fills the TLB and lets the access be
tried again; does it piece by piece where it crosses a page or writes a page with code; leaves for MMIO; or
traps.
"""

from __future__ import annotations

from innkeeper.codegen.layout import (
    EXIT_PC,
    EXTEND_BOX,
    EXTEND_SIGN,
    KIND_ATOMIC,
    KIND_LOAD,
    KIND_RESERVE,
    PAGE,
    RAM_DELTA,
    SHARED,
    SITE_INFO,
    SITE_NEXT,
    SITE_REMAINING,
    SITE_RETRY,
    STATISTICS,
)
from innkeeper.ir.native import M64, Words, native, words_at
from innkeeper.isa.riscv.state import (
    BUDGET,
    EXIT_ADDRESS,
    EXIT_EXTEND,
    EXIT_SIZE,
    EXIT_TARGET,
    EXIT_VALUE,
    FAULT_TVAL,
    PC,
    RESULT,
)
from innkeeper.isa.riscv.translation import LOAD, STORE, access_fault, translate
from innkeeper.isa.riscv.traps import raise_exception
from innkeeper.runtime.code import code_page, in_ram, lock, note_writer, unlock, written
from innkeeper.runtime.contexts import tlb_fill
from innkeeper.runtime.dispatch import EXIT_STEP
from innkeeper.runtime.intrinsics import (
    load8,
    load64,
    store8,
    store16,
    store32,
    store64,
)
from innkeeper.runtime.lookup import continue_at, leave, lookup
from innkeeper.spec.riscv import CAUSE_LOAD_MISALIGNED, CAUSE_STORE_MISALIGNED

TLB_MISSES = STATISTICS + 1
SLOW_ACCESSES = STATISTICS + 2
EXIT_MMIO_READ = 2
EXIT_MMIO_WRITE = 3


@native
def after_memory(h: Words, va: int, site: int) -> int:
    """An access at `va` missed the TLB, or is misaligned where it must not be."""
    info = load64(site + 8 * SITE_INFO)
    kind = info >> 16 & 15
    size = info >> 20 & 15
    h[PC] = h[PAGE] + (info & 0xFFF)
    access = access_of(kind)
    if needs_alignment(kind) and va & (size - 1):
        return trap(h, site, misaligned(access), va)
    if (va & 4095) + size > 4096:
        return crossing_access(h, va, site, access, size)
    fault = translate(h, va, access)
    if fault != 0:
        return trap(h, site, fault, h[FAULT_TVAL])
    pa = h[RESULT]
    if in_ram(h, pa, size) == 0:
        return device_access(h, va, site, access, pa)
    if access == STORE and has_code(h, words_at(h[SHARED]), pa):
        return store_to_code(h, words_at(h[SHARED]), site, pa)
    h[TLB_MISSES] = h[TLB_MISSES] + 1
    tlb_fill(h, va, pa, access)
    return load64(site + 8 * SITE_RETRY)


@native
def has_code(h: Words, e: Words, pa: int) -> int:
    """Not 0 if the page of `pa` has code; else it may be entered into the TLB for writing."""
    note_writer(h, e, pa)
    return code_page(h, e, pa)


@native
def access_of(kind: int) -> int:
    """LOAD or STORE, as translation knows it, for a kind of site."""
    if kind == KIND_LOAD:
        return LOAD
    return LOAD if kind == KIND_RESERVE else STORE


@native
def needs_alignment(kind: int) -> int:
    """1 for atomics and LR, which trap where they are misaligned."""
    return 1 if kind >= KIND_ATOMIC else 0


@native
def misaligned(access: int) -> int:
    """The cause for a misaligned access."""
    return CAUSE_LOAD_MISALIGNED if access == LOAD else CAUSE_STORE_MISALIGNED


@native
def trap(h: Words, site: int, cause: int, tval: int) -> int:
    """The instruction of the site traps: give back what its block has paid for the ones behind it."""
    h[BUDGET] = h[BUDGET] + load64(site + 8 * SITE_REMAINING)
    raise_exception(h, cause, tval)
    return continue_at(h)


@native
def complete(h: Words, site: int) -> int:
    """The instruction of the site is done: PC and BUDGET are those behind it."""
    h[PC] = (h[PC] + (load64(site + 8 * SITE_INFO) >> 12 & 15)) & M64
    h[BUDGET] = h[BUDGET] + load64(site + 8 * SITE_REMAINING)
    return 0


@native
def device_access(h: Words, va: int, site: int, access: int, pa: int) -> int:
    """An access outside RAM: the machine answers it. Atomics and misaligned accesses have no device."""
    info = load64(site + 8 * SITE_INFO)
    kind = info >> 16 & 15
    size = info >> 20 & 15
    if needs_alignment(kind) or pa & (size - 1):
        return trap(h, site, access_fault(h, va, access), va)
    h[EXIT_PC] = h[PC]
    h[FAULT_TVAL] = va
    complete(h, site)
    h[EXIT_ADDRESS] = pa
    h[EXIT_SIZE] = size
    h[EXIT_TARGET] = info >> 32
    h[EXIT_EXTEND] = info >> 24 & 15
    if access == LOAD:
        return leave(h, EXIT_MMIO_READ)
    h[EXIT_VALUE] = h[info >> 32] & low_bits(size)
    return leave(h, EXIT_MMIO_WRITE)


@native
def low_bits(size: int) -> int:
    """Ones in the low `size` (1, 2, 4, 8) bytes."""
    return M64 >> (64 - 8 * size)


@native
def store_to_code(h: Words, e: Words, site: int, pa: int) -> int:
    """A store into a page that has code: drop the code if it is hit; then do the store with the lock held.

    Goes on through `lookup`, because the code it came from may be what was dropped. An atomic is executed by
    its definition: the page cannot be opened for compiled code, which may lie in it itself.
    """
    info = load64(site + 8 * SITE_INFO)
    size = info >> 20 & 15
    h[SLOW_ACCESSES] = h[SLOW_ACCESSES] + 1
    if info >> 16 & 15 == KIND_ATOMIC:
        h[BUDGET] = h[BUDGET] + load64(site + 8 * SITE_REMAINING) + 1
        return leave(h, EXIT_STEP)
    remaining = load64(site + 8 * SITE_REMAINING)
    if lock(h, e):
        return again(h, e, remaining)
    written(h, e, pa, size)
    store_sized(pa + h[RAM_DELTA] & M64, h[info >> 32], size)
    complete(h, site)
    unlock(e)
    return lookup(h)


@native
def again(h: Words, e: Words, remaining: int) -> int:
    """The site is void and the lock is held: execute its instruction once more from the start."""
    h[BUDGET] = h[BUDGET] + remaining + 1
    unlock(e)
    return lookup(h)


@native
def store_sized(address: int, value: int, size: int) -> int:
    """Store `size` bytes in one piece."""
    if size == 8:
        return store64(address, value)
    if size == 4:
        return store32(address, value)
    if size == 2:
        return store16(address, value)
    return store8(address, value)


@native
def crossing_access(h: Words, va: int, site: int, access: int, size: int) -> int:
    """A load or store over a page's end: both pages are translated before anything is written."""
    h[SLOW_ACCESSES] = h[SLOW_ACCESSES] + 1
    second_va = (va + size) & ~4095 & M64
    fault = translate(h, va, access)
    first = h[RESULT]
    if fault == 0:
        fault = translate(h, second_va, access)
    if fault != 0:
        return trap(h, site, fault, h[FAULT_TVAL])
    second = h[RESULT]
    if in_ram(h, first, 1) == 0:
        return trap(h, site, access_fault(h, va, access), va)
    if in_ram(h, second, 1) == 0:
        return trap(h, site, access_fault(h, second_va, access), second_va)
    split = (second_va - va) & M64
    if access == LOAD:
        value = 0
        for i in range(size):
            pa = first + i if i < split else second + i - split
            value = value | load8(pa + h[RAM_DELTA] & M64) << (8 * i)
        return finish_load(h, site, value)
    return crossing_store(h, words_at(h[SHARED]), site, first, second, split)


@native
def crossing_store(h: Words, e: Words, site: int, first: int, second: int, split: int) -> int:
    """Store byte by byte; see `store_to_code` for the lock."""
    info = load64(site + 8 * SITE_INFO)
    size = info >> 20 & 15
    value = h[info >> 32]
    remaining = load64(site + 8 * SITE_REMAINING)
    if lock(h, e):
        return again(h, e, remaining)
    written(h, e, first, split)
    written(h, e, second, size - split)
    for i in range(size):
        pa = first + i if i < split else second + i - split
        store8(pa + h[RAM_DELTA] & M64, value >> (8 * i))
    complete(h, site)
    unlock(e)
    return lookup(h)


@native
def finish_load(h: Words, site: int, value: int) -> int:
    """Give the loaded bits to the register and go on behind the instruction."""
    info = load64(site + 8 * SITE_INFO)
    h[info >> 32] = extended(value, info >> 20 & 15, info >> 24 & 15)
    return load64(site + 8 * SITE_NEXT)


@native
def extended(value: int, size: int, extend: int) -> int:
    """`size` bytes as a register holds them."""
    if size == 8:
        return value
    bits = 8 * size
    if extend == EXTEND_SIGN:
        return ((value ^ 1 << (bits - 1)) - (1 << (bits - 1))) & M64
    if extend == EXTEND_BOX:
        return value | M64 << bits & M64
    return value
