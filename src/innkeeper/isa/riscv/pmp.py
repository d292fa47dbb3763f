# SPDX-License-Identifier: Apache-2.0
"""Physical memory protection: 16 entries of 4 KiB granularity, as native functions.

The granularity makes every page uniform, so that a check holds for the whole page. NA4 does not exist.

Spec: riscv-priv 20240411, "Physical Memory Protection".
"""

from __future__ import annotations

from innkeeper.ir.native import M64, Words, native
from innkeeper.isa.riscv.state import PMP_ACTIVE, PMPADDR, PMPCFG
from innkeeper.isa.riscv.surroundings import translations_flush
from innkeeper.spec.riscv import (
    PMP_A,
    PMP_A_SHIFT,
    PMP_ADDRESS_MASK,
    PMP_ENTRIES,
    PMP_L,
    PMP_NA4,
    PMP_NAPOT,
    PMP_OFF,
    PMP_R,
    PMP_TOR,
    PMP_W,
    PMP_X,
    PRIV_M,
)

GRAIN_BITS = 10
"""G of the specification: the granularity is 2**(G + 2) bytes. pmpaddr counts units of 4 bytes."""
TOR_MASK = (1 << GRAIN_BITS) - 1
"""Low bits of pmpaddr that read as zero unless the entry is NAPOT."""
NAPOT_MASK = (1 << (GRAIN_BITS - 1)) - 1
"""Low bits of pmpaddr that read as one if the entry is NAPOT."""


@native
def pmp_config(h: Words, entry: int) -> int:
    """The 8 bits of pmpcfg for `entry` (0..15)."""
    return h[PMPCFG + (entry >> 3)] >> ((entry & 7) * 8) & 0xFF


@native
def pmp_matches(h: Words, entry: int, pa: int) -> int:
    """1 if `entry` is on and its range holds the page of `pa`.

    Spec: riscv-priv 20240411, "Address Matching"
    """
    mode = pmp_config(h, entry) >> PMP_A_SHIFT & 3
    if mode == PMP_OFF:
        return 0
    address = h[PMPADDR + entry]
    if mode == PMP_TOR:
        low = h[PMPADDR + entry - 1] >> GRAIN_BITS if entry != 0 else 0
        page = pa >> (GRAIN_BITS + 2)
        return 1 if low <= page and page < address >> GRAIN_BITS else 0
    full = address | NAPOT_MASK
    return 1 if ((pa >> 2) ^ full) & ~(full ^ (full + 1)) & M64 == 0 else 0


@native
def pmp_permits(h: Words, pa: int, access: int, privilege: int) -> int:
    """1 if an access (0 fetch, 1 load, 2 store) to the page of `pa` in `privilege` passes.

    Spec: riscv-priv 20240411, "Priority and Matching Logic"
    """
    if h[PMP_ACTIVE] == 0:
        return 1
    needed = PMP_X if access == 0 else (PMP_R if access == 1 else PMP_W)
    for entry in range(PMP_ENTRIES):
        if pmp_matches(h, entry, pa):
            config = pmp_config(h, entry)
            if privilege == PRIV_M and config & PMP_L == 0:
                return 1
            return 1 if config & needed else 0
    return 1 if privilege == PRIV_M else 0


@native
def pmp_locked(h: Words, entry: int) -> int:
    """1 if pmpaddr of `entry` cannot be written: it is locked, or the top of a locked range begins there."""
    if pmp_config(h, entry) & PMP_L:
        return 1
    if entry + 1 < PMP_ENTRIES:
        above = pmp_config(h, entry + 1)
        if above & PMP_L and above >> PMP_A_SHIFT & 3 == PMP_TOR:
            return 1
    return 0


@native
def pmp_changed(h: Words) -> int:
    """Derive PMP_ACTIVE anew; what the engine remembers was allowed by the old entries.

    The specification lets M-mode wait for its sfence.vma, but firmware without virtual memory has no reason
    to execute one.
    """
    first = pmp_config(h, 0)
    rwx = PMP_R | PMP_W | PMP_X
    everything = first >> PMP_A_SHIFT & 3 == PMP_NAPOT and first & rwx == rwx
    # 53 ones in the low bits make the range 2**56 bytes, 54 ones twice that.
    if everything and h[PMPADDR] | NAPOT_MASK | 1 << 53 == PMP_ADDRESS_MASK:
        h[PMP_ACTIVE] = 0
    else:
        h[PMP_ACTIVE] = 1
    translations_flush(h, 0, 0, 0, 0)
    return 0


@native
def pmp_address_read(h: Words, entry: int) -> int:
    """pmpaddr as software sees it at this granularity."""
    if pmp_config(h, entry) >> PMP_A_SHIFT & 3 == PMP_NAPOT:
        return h[PMPADDR + entry] | NAPOT_MASK
    return h[PMPADDR + entry] & ~TOR_MASK & M64


@native
def pmp_address_write(h: Words, entry: int, value: int) -> int:
    """Write pmpaddr unless it is locked."""
    if pmp_locked(h, entry) == 0:
        h[PMPADDR + entry] = value & PMP_ADDRESS_MASK
        pmp_changed(h)
    return 0


@native
def pmp_config_write(h: Words, word: int, value: int) -> int:
    """Write pmpcfg0 (word 0) or pmpcfg2 (word 1): 8 entries, of which locked ones keep their value.

    W without R is reserved: W is dropped. NA4 cannot be chosen at this granularity: it becomes NAPOT.
    """
    result = 0
    for i in range(8):
        config = pmp_config(h, word * 8 + i)
        if config & PMP_L == 0:
            config = value >> (i * 8) & (PMP_R | PMP_W | PMP_X | PMP_A | PMP_L)
            if config & (PMP_R | PMP_W) == PMP_W:
                config = config ^ PMP_W
            if config >> PMP_A_SHIFT & 3 == PMP_NA4:
                config = config | PMP_A
        result = result | config << (i * 8)
    h[PMPCFG + word] = result
    pmp_changed(h)
    return 0
