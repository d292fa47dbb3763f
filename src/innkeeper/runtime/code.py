# SPDX-License-Identifier: Apache-2.0
"""Translated code of a VM: which pages of RAM have some, where it is, and how harts agree on changing it.

One lock guards it. Code that is published is never written; what is invalid is only not found any more. When
the area is full, everything is thrown away after each other hart has left compiled code. A page with code may
not be in any TLB for writing, so that stores to it come through `store_to_code`.
"""

from __future__ import annotations

from innkeeper.codegen.layout import (
    CODE_EPOCH,
    CODE_FIRST,
    CODE_NEXT,
    CODE_PAGE_WORDS,
    CROSSING,
    CROSSING_ENTRIES,
    DATA_FIRST,
    DATA_NEXT_FREE,
    FLUSH_COUNT,
    HART_BLOCKS,
    HARTS,
    LOCK,
    PAGES,
    POOL,
    POOL_COUNT,
    POOL_FREE,
    POOL_NEXT,
    RAM_BASE,
    RAM_SIZE,
    RUNNING,
    SERVED,
    SHARED,
    SHARED_EPOCH,
    STATISTICS,
    WRITERS,
)
from innkeeper.ir.native import M64, Words, native, words_at
from innkeeper.isa.riscv.state import HART_INDEX, REQUEST
from innkeeper.runtime.contexts import contexts_changed, forget_all, forget_fetch, tlb_forbid_writes
from innkeeper.runtime.intrinsics import (
    address_of,
    atomic_add64,
    atomic_cas64,
    atomic_exchange8,
    atomic_load64,
    atomic_or8,
    atomic_store64,
    fill_bytes,
    load8,
    load32,
    load64,
    spin,
    store32,
    store64,
    yield_cpu,
)

CODE_INVALIDATIONS = STATISTICS + 9
CODE_FLUSHES = STATISTICS + 10
REQUESTS = STATISTICS + 11
DEAD = 1 << 31
"""Bit in an entry of PAGES: nothing of the page is translated any more."""
SPINS = 1000
"""Turns of waiting without asking the host for another thread: some ten microseconds."""


@native
def serve_requests(h: Words) -> int:
    """Forget everything if another thread asked for it, and then say 1; only where no compiled code is under
    way."""
    wanted = atomic_load64(address_of(h) + 8 * REQUEST)
    if wanted == h[SERVED]:
        return 0
    h[REQUESTS] = h[REQUESTS] + 1
    forget_all(h)
    atomic_store64(address_of(h) + 8 * SERVED, wanted)
    return 1


@native
def lock(h: Words, e: Words) -> int:
    """Take the lock; serves requests while waiting, so that two harts never wait for each other.

    1 if it served any: then physical addresses, sites, slots and code found before must not be used any more.
    """
    served = 0
    turns = 0
    while atomic_cas64(address_of(e) + 8 * LOCK, 0, 1) == 0:
        served = served | serve_requests(h)
        turns = wait_a_turn(turns)
    return served


@native
def wait_a_turn(turns: int) -> int:
    """Wait a moment for another thread, which may itself wait for a CPU; the number of the next turn."""
    if turns < SPINS:
        spin()
    else:
        yield_cpu()
    return turns + 1


@native
def unlock(e: Words) -> int:
    """Give the lock back."""
    return atomic_store64(address_of(e) + 8 * LOCK, 0)


@native
def ask_hart(block: int) -> int:
    """Ask the hart with this block to forget everything, and wait until it has, or does not run."""
    ticket = atomic_add64(block + 8 * REQUEST, 1)
    turns = 0
    while atomic_load64(block + 8 * RUNNING) and (ticket - atomic_load64(block + 8 * SERVED)) & M64 != 0:
        if (atomic_load64(block + 8 * SERVED) - ticket) & M64 < 1 << 32:
            break
        turns = wait_a_turn(turns)
    return 0


@native
def ask_others(h: Words, e: Words, mask: int) -> int:
    """`ask_hart` for every other hart in the mask."""
    for i in range(e[HARTS]):
        if mask >> i & 1 and e[HART_BLOCKS + i] != address_of(h):
            ask_hart(e[HART_BLOCKS + i])
    return 0


@native
def note_writer(h: Words, e: Words, pa: int) -> int:
    """This hart is about to have the page of `pa` in its TLB for writing, if the page has no code.

    The note comes before the look at PAGES; `make_code_page` enters there first and reads the notes then. One
    of the two sees the other.
    """
    at = e[WRITERS] + page_number(h, pa)
    bit = 1 << h[HART_INDEX]
    if load8(at) & bit == 0:
        atomic_or8(at, bit)
    return 0


@native
def page_number(h: Words, pa: int) -> int:
    """The page of RAM that holds `pa`."""
    return (pa - h[RAM_BASE]) >> 12


@native
def in_ram(h: Words, pa: int, size_bytes: int) -> int:
    """1 if [pa, pa + size_bytes) is all RAM."""
    return 1 if pa >= h[RAM_BASE] and pa - h[RAM_BASE] <= h[RAM_SIZE] - size_bytes else 0


@native
def code_page(h: Words, e: Words, pa: int) -> int:
    """Host address of the code page of `pa` (in RAM), or 0 if nothing of that page is translated."""
    number = load32(e[PAGES] + 4 * page_number(h, pa))
    return e[POOL] + (number - 1) * (CODE_PAGE_WORDS * 8) if number and number < DEAD else 0


@native
def make_code_page(h: Words, e: Words, pa: int) -> int:
    """The code page of `pa`, made and guarded against writing if there is none; 0 if there is no room.

    The lock is held.
    """
    have = code_page(h, e, pa)
    if have:
        return have
    number = load32(e[PAGES] + 4 * page_number(h, pa)) & (DEAD - 1)
    if number == 0 and e[POOL_FREE]:
        number = e[POOL_FREE]
        e[POOL_FREE] = load64(e[POOL] + (number - 1) * (CODE_PAGE_WORDS * 8))
    elif number == 0:
        if e[POOL_NEXT] == e[POOL_COUNT]:
            return 0
        e[POOL_NEXT] = e[POOL_NEXT] + 1
        number = e[POOL_NEXT]
    made = e[POOL] + (number - 1) * (CODE_PAGE_WORDS * 8)
    fill_bytes(made, 0, CODE_PAGE_WORDS * 8)
    store32(e[PAGES] + 4 * page_number(h, pa), number)
    writers = atomic_exchange8(e[WRITERS] + page_number(h, pa), 0)
    if writers >> h[HART_INDEX] & 1:
        tlb_forbid_writes(h, pa)
    ask_others(h, e, writers)
    return made


@native
def drop_code_page(h: Words, e: Words, pa: int) -> int:
    """Nothing of the page of `pa` is translated any more. The lock is held."""
    slot = e[PAGES] + 4 * page_number(h, pa)
    number = load32(slot) & (DEAD - 1)
    if number:
        h[CODE_INVALIDATIONS] = h[CODE_INVALIDATIONS] + 1
        store32(slot, 0)
        store64(e[POOL] + (number - 1) * (CODE_PAGE_WORDS * 8), e[POOL_FREE])
        e[POOL_FREE] = number
        atomic_add64(address_of(e) + 8 * SHARED_EPOCH, 1)
    return 0


@native
def forget_written(h: Words, e: Words, pa: int) -> int:
    """`drop_code_page` after a write, if there is any code, for one who must not wait for the lock.

    Waiting means that translations and code may be thrown away meanwhile: no good for a page walk and for
    what compiled code calls. A code page that is marked as dead is found again when the page gets new code.
    """
    # Whoever translates enters the page in PAGES before it reads the page's bytes: one sees the other.
    epoch = address_of(e) + 8 * SHARED_EPOCH
    atomic_add64(epoch, 0)
    if code_page(h, e, pa):
        h[CODE_INVALIDATIONS] = h[CODE_INVALIDATIONS] + 1
        atomic_or8(e[PAGES] + 4 * page_number(h, pa) + 3, DEAD >> 24)
        atomic_add64(epoch, 1)
    return 0


@native
def lines_of(pa: int, size_bytes: int) -> int:
    """The 64-byte lines of a page that an access (inside it) touches, as a bit each."""
    first = (pa & 4095) >> 6
    last = ((pa & 4095) + size_bytes - 1) >> 6
    return ((2 << (last - first)) - 1) << first & M64


@native
def written(h: Words, e: Words, pa: int, size_bytes: int) -> int:
    """`size_bytes` at `pa` (inside one page) are about to be written: drop its code if that is hit.

    The lock is held.
    """
    page = code_page(h, e, pa)
    if page and load64(page) & lines_of(pa, size_bytes):
        drop_code_page(h, e, pa)
    return 0


@native
def jit_code_flush(h: Words) -> int:
    """fence.i: forget jumps into code that was dropped since the last time."""
    return catch_up(h, words_at(h[SHARED]))


@native
def catch_up(h: Words, e: Words) -> int:
    """Forget the jump caches if code was dropped since they were last emptied."""
    epoch = atomic_load64(address_of(e) + 8 * SHARED_EPOCH)
    if h[CODE_EPOCH] != epoch:
        h[CODE_EPOCH] = epoch
        forget_fetch(h)
        contexts_changed(h)
    return 0


@native
def drop_all_code(h: Words, e: Words) -> int:
    """Throw every translation away. The lock is held and this hart is not going back to what it ran."""
    h[CODE_FLUSHES] = h[CODE_FLUSHES] + 1
    ask_others(h, e, M64)
    fill_bytes(e[PAGES], 0, 4 * (h[RAM_SIZE] >> 12))
    fill_bytes(e[CROSSING], 0, 16 * CROSSING_ENTRIES)
    e[POOL_NEXT] = 0
    e[POOL_FREE] = 0
    e[CODE_NEXT] = e[CODE_FIRST]
    e[DATA_NEXT_FREE] = e[DATA_FIRST]
    e[FLUSH_COUNT] = e[FLUSH_COUNT] + 1
    h[CODE_EPOCH] = atomic_add64(address_of(e) + 8 * SHARED_EPOCH, 1)
    return forget_all(h)


@native
def guest_written(h: Words, pa: int, size_bytes: int) -> int:
    """A device or the machine wrote [pa, pa + size_bytes) of RAM: drop the code in it. Any thread.

    `h` is a block of its own, not a hart's.
    """
    return drop_range(h, words_at(h[SHARED]), pa, size_bytes)


@native
def drop_range(h: Words, e: Words, pa: int, size_bytes: int) -> int:
    """Drop code in a range of RAM of any size."""
    at = pa
    end = pa + size_bytes
    while at < end:
        following = (at & ~4095 & M64) + 4096
        if load32(e[PAGES] + 4 * page_number(h, at)):
            lock(h, e)
            written(h, e, at, (following if following < end else end) - at)
            unlock(e)
        at = following
    return 0
