# SPDX-License-Identifier: Apache-2.0
"""Address translation: bare, Sv39, Sv48 and Sv57, with hardware update of A and D, as native functions.

Spec: riscv-priv 20240411, "Virtual Address Translation Process" (VATP); its steps are named where they are
done. Svnapot and Svpbmt are not here, so that their bits are reserved ones.
"""

from __future__ import annotations

from innkeeper.ir.native import M64, Words, native
from innkeeper.isa.riscv.pmp import pmp_permits
from innkeeper.isa.riscv.state import (
    FAULT_CAUSE,
    FAULT_TVAL,
    LEAF_PTE,
    LEAF_SHIFT,
    MENVCFG,
    MSTATUS,
    PRIV,
    RESULT,
    SATP,
)
from innkeeper.isa.riscv.surroundings import phys_cas64, phys_is_ram, phys_read64
from innkeeper.spec.riscv import (
    CAUSE_FETCH_ACCESS,
    CAUSE_FETCH_PAGE,
    CAUSE_LOAD_ACCESS,
    CAUSE_LOAD_PAGE,
    CAUSE_STORE_ACCESS,
    CAUSE_STORE_PAGE,
    MENVCFG_ADUE,
    MSTATUS_MPP_SHIFT,
    MSTATUS_MPRV,
    MSTATUS_MXR,
    MSTATUS_SUM,
    PAGE_SHIFT,
    PHYSICAL_ADDRESS_BITS,
    PRIV_M,
    PRIV_S,
    PRIV_U,
    PTE_A,
    PTE_D,
    PTE_PPN_MASK,
    PTE_PPN_SHIFT,
    PTE_R,
    PTE_RESERVED,
    PTE_U,
    PTE_V,
    PTE_W,
    PTE_X,
    SATP_BARE,
    SATP_MODE_SHIFT,
    SATP_PPN_MASK,
    SATP_SV39,
)

FETCH = 0
LOAD = 1
STORE = 2
"""Stores and atomic memory operations."""


@native
def page_fault(h: Words, va: int, access: int) -> int:
    """The page-fault cause for this kind of access; FAULT_* are set."""
    cause = CAUSE_FETCH_PAGE if access == FETCH else (CAUSE_LOAD_PAGE if access == LOAD else CAUSE_STORE_PAGE)
    h[FAULT_CAUSE] = cause
    h[FAULT_TVAL] = va
    return cause


@native
def access_fault(h: Words, va: int, access: int) -> int:
    """The access-fault cause for this kind of access; FAULT_* are set."""
    cause = CAUSE_STORE_ACCESS
    if access == FETCH:
        cause = CAUSE_FETCH_ACCESS
    elif access == LOAD:
        cause = CAUSE_LOAD_ACCESS
    h[FAULT_CAUSE] = cause
    h[FAULT_TVAL] = va
    return cause


@native
def effective_privilege(h: Words, access: int) -> int:
    """The privilege under which an access is translated and protected.

    Spec: riscv-priv 20240411, "Memory Privilege in mstatus Register"
    """
    if access != FETCH and h[MSTATUS] & MSTATUS_MPRV:
        return h[MSTATUS] >> MSTATUS_MPP_SHIFT & 3
    return h[PRIV]


@native
def translate(h: Words, va: int, access: int) -> int:
    """Translate `va` for an access (FETCH, LOAD, STORE).

    Returns 0 with the physical address in RESULT and the leaf PTE in LEAF_PTE (0 where nothing is
    translated), or the exception's cause, which is in FAULT_CAUSE with its tval in FAULT_TVAL. The address
    may lie outside RAM. What is found holds for the whole 4 KiB page.
    """
    privilege = effective_privilege(h, access)
    mode = h[SATP] >> SATP_MODE_SHIFT
    if privilege == PRIV_M or mode == SATP_BARE:
        h[RESULT] = va
        h[LEAF_PTE] = 0
        h[LEAF_SHIFT] = PAGE_SHIFT
        if va >> PHYSICAL_ADDRESS_BITS:
            return access_fault(h, va, access)
    else:
        fault = walk(h, va, access, privilege, mode - SATP_SV39 + 3)
        if fault != 0:
            return fault
    if pmp_permits(h, h[RESULT], access, privilege) == 0:
        return access_fault(h, va, access)
    return 0


@native
def walk(h: Words, va: int, access: int, privilege: int, levels: int) -> int:
    """Walk a page table of `levels` levels; returns as `translate` does.

    Spec: riscv-priv 20240411, "Virtual Address Translation Process"
    """
    # "Addressing and Memory Protection": the bits above the virtual address all equal its highest one.
    sign_shift = PAGE_SHIFT + 9 * levels - 1
    if va >> sign_shift != 0 and va >> sign_shift != M64 >> sign_shift:
        return page_fault(h, va, access)
    # VATP step 1.
    table = (h[SATP] & SATP_PPN_MASK) << PAGE_SHIFT
    level = levels - 1
    while level < levels:
        # VATP step 2.
        shift = PAGE_SHIFT + 9 * level
        at = table + (va >> shift & 0x1FF) * 8
        if phys_is_ram(h, at, 8) == 0 or pmp_permits(h, at, LOAD, PRIV_S) == 0:
            return access_fault(h, va, access)
        pte = phys_read64(h, at)
        # VATP step 3.
        if pte & PTE_V == 0 or pte & (PTE_R | PTE_W) == PTE_W or pte & PTE_RESERVED != 0:
            return page_fault(h, va, access)
        # VATP step 4. D, A and U are reserved in a PTE that is not a leaf.
        if pte & (PTE_R | PTE_X) == 0:
            if level == 0 or pte & (PTE_D | PTE_A | PTE_U) != 0:
                return page_fault(h, va, access)
            table = (pte >> PTE_PPN_SHIFT & PTE_PPN_MASK) << PAGE_SHIFT
            level -= 1
            continue
        # VATP steps 5 and 6.
        offset_mask = (1 << shift) - 1
        base = (pte >> PTE_PPN_SHIFT & PTE_PPN_MASK) << PAGE_SHIFT
        if leaf_permits(h, pte, access, privilege) == 0 or base & offset_mask != 0:
            return page_fault(h, va, access)
        # VATP step 7; where the PTE has changed meanwhile it is read again (step 2).
        used = pte | PTE_A | (PTE_D if access == STORE else 0)
        if used != pte:
            if h[MENVCFG] & MENVCFG_ADUE == 0:
                return page_fault(h, va, access)
            if pmp_permits(h, at, STORE, PRIV_S) == 0:
                return access_fault(h, va, access)
            if phys_cas64(h, at, pte, used) == 0:
                continue
        # VATP step 8.
        h[RESULT] = base | va & offset_mask
        h[LEAF_PTE] = used
        h[LEAF_SHIFT] = shift
        return 0
    return 0


@native
def leaf_permits(h: Words, pte: int, access: int, privilege: int) -> int:
    """1 if a leaf PTE allows the access.

    Spec: riscv-priv 20240411, VATP step 5; "Memory Privilege in mstatus Register" for SUM and MXR
    """
    status = h[MSTATUS]
    if privilege == PRIV_U:
        if pte & PTE_U == 0:
            return 0
    elif pte & PTE_U != 0 and (access == FETCH or status & MSTATUS_SUM == 0):
        return 0
    if access == FETCH:
        return 1 if pte & PTE_X else 0
    if access == STORE:
        return 1 if pte & PTE_W else 0
    readable = PTE_R | PTE_X if status & MSTATUS_MXR else PTE_R
    return 1 if pte & readable else 0


@native
def fetch_half(h: Words, va: int) -> int:
    """The 16 bits at the even address `va` as a fetch sees them, 0 where it faults. RESULT is lost."""
    if translate(h, va, FETCH) != 0:
        return 0
    pa = h[RESULT]
    if phys_is_ram(h, pa & ~7 & M64, 8) == 0:
        return 0
    return phys_read64(h, pa & ~7 & M64) >> ((pa & 6) * 8) & 0xFFFF
