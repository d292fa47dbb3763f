# SPDX-License-Identifier: Apache-2.0
"""Regions of the optimising tier among the blocks of the baseline tier: sampling, entering, leaving.

A region's entry stands in its code page where a block's code would; what the baseline tier has for the same
place is kept beside it, for the region's own slow paths. `install_region` puts a compiled region in place.
"""

from __future__ import annotations

from innkeeper.codegen.layout import (
    BLOCK_CODE_BYTES,
    BLOCK_LIMIT,
    CODE_END,
    CODE_NEXT,
    CODE_PAGE_BASELINE,
    CODE_WRITE,
    HART_BLOCKS,
    HARTS,
    LINES,
    PAGE,
    RAM_DELTA,
    REGION_ALIGNMENT,
    REGION_BYTES,
    REGION_CODE,
    REGION_ENTRIES,
    REGION_LINES,
    REGION_LIST,
    REGION_PA,
    REGION_SOURCE,
    REGION_STUBS,
    REGIONS,
    SAMPLE_ENTRIES,
    SAMPLE_NEXT,
    SAMPLED,
    SHARED,
    SHARED_EPOCH,
    STATISTICS,
    STUBS,
)
from innkeeper.ir.native import M64, Words, native, words_at
from innkeeper.isa.riscv.state import PC, REQUEST, RESULT
from innkeeper.isa.riscv.translation import FETCH, translate
from innkeeper.runtime.code import code_page, in_ram, lock, unlock
from innkeeper.runtime.contexts import fetch_address, fetch_fill
from innkeeper.runtime.intrinsics import (
    address_of,
    atomic_add64,
    copy_bytes,
    fill_bytes,
    load32,
    load64,
    store32,
    store64,
)
from innkeeper.runtime.lookup import block_at, guarded_page, lookup, make_room
from innkeeper.runtime.translator import translate_block

SAMPLE_EVERY = 8
"""Slices (counted in the first of the statistics) for one sample: some 6,000 samples a second."""
REGION_ONLY = 1
"""In a page's table of baseline code: a region is entered here, and nothing is translated for it yet."""


@native
def note_sample(h: Words, e: Words) -> int:
    """A slice ends at PC: that is where time goes. Harts may overwrite each other's samples."""
    if e[SAMPLED] == 0 or h[STATISTICS] & (SAMPLE_EVERY - 1):
        return 0
    pa = fetch_address(h, h[PC])
    if pa == 0 and translate(h, h[PC], FETCH) == 0 and in_ram(h, h[RESULT], 2):
        pa = h[RESULT]
    if pa:
        number = e[SAMPLE_NEXT]
        e[SAMPLE_NEXT] = number + 1
        store64(e[SAMPLED] + 8 * (number & (SAMPLE_ENTRIES - 1)), pa)
    return 0


@native
def after_side(h: Words, pc: int, s: int) -> int:
    """A region cannot do the instruction at pc: the baseline tier does, not the region again."""
    h[PC] = pc
    h[PAGE] = pc & ~4095 & M64
    pa = fetch_address(h, pc)
    if pa == 0:
        if translate(h, pc, FETCH) != 0 or in_ram(h, h[RESULT], 2) == 0:
            return lookup(h)
        pa = h[RESULT]
        fetch_fill(h, pc, pa)
    code = side_code(h, words_at(h[SHARED]), pa)
    return code if code else lookup(h)


@native
def side_code(h: Words, e: Words, pa: int) -> int:
    """The baseline tier's code for `pa`; 0 if requests were served meanwhile."""
    code = 0
    if lock(h, e) == 0:
        code = baseline_at(h, e, pa)
    unlock(e)
    return code


@native
def baseline_at(h: Words, e: Words, pa: int) -> int:
    """`block_at`, but never a region. The lock is held."""
    page = code_page(h, e, pa)
    offset = 4 * ((pa & 4095) >> 1)
    have = load32(page + CODE_PAGE_BASELINE + offset) if page else 0
    if have > REGION_ONLY:
        return have
    if have == 0:
        return block_at(h, e, pa)
    make_room(h, e)
    page = guarded_page(h, e, pa)
    code = translate_block(h, e, pa, BLOCK_LIMIT, 0)
    store64(page, load64(page) | e[LINES])
    store32(page + CODE_PAGE_BASELINE + offset, code)
    return code


@native
def install_region(h: Words, d: Words) -> int:
    """Put the region that `d` describes in place; where it is, 0 if its page changed or there is no room.

    `h` is a block of its own, not a hart's. Harts find the region at their next poll.
    """
    return install(h, words_at(h[SHARED]), d)


@native
def install(h: Words, e: Words, d: Words) -> int:
    """See `install_region`."""
    done = 0
    lock(h, e)
    if e[CODE_NEXT] + d[REGION_BYTES] + BLOCK_CODE_BYTES < e[CODE_END]:
        page = guarded_page(h, e, d[REGION_PA])
        if is_unchanged(h, d):
            e[CODE_NEXT] = (e[CODE_NEXT] + REGION_ALIGNMENT - 1) & ~(REGION_ALIGNMENT - 1) & M64
            done = e[CODE_NEXT]
            place_code(e, d)
            enter_region(e, d, page)
    unlock(e)
    if done:
        for i in range(e[HARTS]):
            atomic_add64(e[HART_BLOCKS + i] + 8 * REQUEST, 1)
    return done


@native
def has_region(h: Words, pa: int) -> int:
    """Whether a region is entered at `pa` (in RAM); without the lock, so it may just have come or gone."""
    page = code_page(h, words_at(h[SHARED]), pa)
    return load32(page + CODE_PAGE_BASELINE + 4 * ((pa & 4095) >> 1)) if page else 0


@native
def is_unchanged(h: Words, d: Words) -> int:
    """Whether the lines of the page that the region was made from are what they were then."""
    for line in range(64):
        if d[REGION_LINES] >> line & 1:
            for i in range(8):
                at = 64 * line + 8 * i
                if load64((d[REGION_PA] + at + h[RAM_DELTA]) & M64) != load64(d[REGION_SOURCE] + at):
                    return 0
    return 1


@native
def place_code(e: Words, d: Words) -> int:
    """Copy the region's code to CODE_NEXT and let its calls go to the stubs."""
    start = e[CODE_NEXT]
    copy_bytes((start + e[CODE_WRITE]) & M64, d[REGION_CODE], d[REGION_BYTES])
    at = REGION_LIST
    for _i in range(d[REGION_STUBS]):
        place = start + d[at]
        store32((place + e[CODE_WRITE]) & M64, (e[STUBS + d[at + 1]] + d[at + 2] - place) & M64)
        at += 3
    return 0


@native
def enter_region(e: Words, d: Words, page: int) -> int:
    """Enter the region into its code page. All blocks of the page are found anew, so that they lead to it."""
    start = e[CODE_NEXT]
    e[CODE_NEXT] = (start + d[REGION_BYTES] + 15) & ~15
    fill_bytes(page + 8, 0, 2 * 8192)
    at = REGION_LIST + 3 * d[REGION_STUBS]
    for _i in range(d[REGION_ENTRIES]):
        offset = 4 * (d[at] >> 1)
        store32(page + 8 + offset, start + d[at + 1])
        store32(page + CODE_PAGE_BASELINE + offset, REGION_ONLY)
        at += 2
    store64(page, load64(page) | d[REGION_LINES])
    e[REGIONS] = e[REGIONS] + 1
    # Atomic, because `forget_written` counts without the lock.
    return atomic_add64(address_of(e) + 8 * SHARED_EPOCH, 1)
