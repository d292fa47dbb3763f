# SPDX-License-Identifier: Apache-2.0
"""What SYSTEM, cache-block and fence.i instructions do, as the native functions that `Hart.system` calls.

Each returns an OUTCOME_*; with OUTCOME_NEXT it has moved PC on (all of these are 4 bytes long).
"""

from __future__ import annotations

from innkeeper.ir.native import M64, Words, native
from innkeeper.isa.riscv.state import (
    ECALL_EXITS,
    FAULT_CAUSE,
    MENVCFG,
    MIE,
    MSTATUS,
    OUTCOME_EXIT,
    OUTCOME_NEXT,
    PC,
    PRIV,
    RESULT,
    SENVCFG,
)
from innkeeper.isa.riscv.surroundings import (
    code_flush,
    phys_is_ram,
    phys_zero_block,
    translations_flush,
)
from innkeeper.isa.riscv.translation import LOAD, STORE, access_fault, translate
from innkeeper.isa.riscv.traps import mip_value, raise_exception, raise_illegal
from innkeeper.spec.riscv import (
    CAUSE_BREAKPOINT,
    CAUSE_ECALL_U,
    CAUSE_LOAD_PAGE,
    CAUSE_STORE_ACCESS,
    CAUSE_STORE_PAGE,
    ENVCFG_CBCFE,
    ENVCFG_CBIE,
    ENVCFG_CBZE,
    MSTATUS_TVM,
    MSTATUS_TW,
    PRIV_M,
    PRIV_S,
    PRIV_U,
    SATP_ASID_MASK,
)

EXIT_IDLE = OUTCOME_EXIT + 1
"""OUTCOME_EXIT + ExitReason.IDLE, which stands in a higher layer."""
EXIT_ECALL = OUTCOME_EXIT + 4
"""OUTCOME_EXIT + ExitReason.ECALL."""
CACHE_BLOCK_BYTES = 64
"""Size of the block that Zicbom and Zicboz instructions work on."""


@native
def advance(h: Words) -> int:
    """Go on behind this instruction of 4 bytes."""
    h[PC] = (h[PC] + 4) & M64
    return OUTCOME_NEXT


@native
def environment_call(h: Words) -> int:
    """ecall: from S-mode an exit if the machine answers SBI itself, else a trap."""
    if h[PRIV] == PRIV_S and h[ECALL_EXITS]:
        return EXIT_ECALL
    return raise_exception(h, CAUSE_ECALL_U + h[PRIV], 0)


@native
def environment_break(h: Words) -> int:
    """ebreak; tval is its address.

    Spec: riscv-priv 20240411, "Machine Trap Value (mtval) Register"
    """
    return raise_exception(h, CAUSE_BREAKPOINT, h[PC])


@native
def wait_for_interrupt(h: Words) -> int:
    """wfi: goes on if an interrupt is pending that mie enables, whatever mstatus says; else leaves idle.

    Spec: riscv-priv 20240411, "Wait for Interrupt"
    """
    if h[PRIV] == PRIV_U or (h[PRIV] == PRIV_S and h[MSTATUS] & MSTATUS_TW):
        return raise_illegal(h)
    advance(h)
    return OUTCOME_NEXT if mip_value(h) & h[MIE] else EXIT_IDLE


@native
def fence_virtual_memory(h: Words, va: int, has_va: int, asid: int, has_asid: int) -> int:
    """sfence.vma and sinval.vma; has_* are 0 where the operand is x0.

    Spec: riscv-priv 20240411, "Supervisor Memory-Management Fence Instruction", "Svinval"
    """
    if h[PRIV] == PRIV_U or (h[PRIV] == PRIV_S and h[MSTATUS] & MSTATUS_TVM):
        return raise_illegal(h)
    translations_flush(h, va, 1 if has_va else 0, asid & SATP_ASID_MASK, 1 if has_asid else 0)
    return advance(h)


@native
def fence_invalidation(h: Words) -> int:
    """sfence.w.inval and sfence.inval.ir: sinval.vma is complete at once, so that only the check is left.

    Spec: riscv-priv 20240411, "Svinval"
    """
    if h[PRIV] == PRIV_U:
        return raise_illegal(h)
    return advance(h)


@native
def fence_instructions(h: Words) -> int:
    """fence.i."""
    code_flush(h)
    return advance(h)


@native
def envcfg_allows(h: Words, bits: int) -> int:
    """1 if menvcfg, and for U-mode senvcfg, allow what `bits` stand for.

    Spec: riscv-unpriv 20240411, "Cache-block Management Instructions", Control and Status Register State
    """
    if h[PRIV] != PRIV_M and h[MENVCFG] & bits == 0:
        return 0
    if h[PRIV] == PRIV_U and h[SENVCFG] & bits == 0:
        return 0
    return 1


@native
def cache_block_manage(h: Words, va: int, bits: int) -> int:
    """cbo.inval, cbo.clean, cbo.flush: caches are coherent, so that only the checks are left.

    Spec: riscv-unpriv 20240411, "Cache-block Management Instructions", Address Translation and Permissions:
    allowed where a load or a store is; faults are those of a store
    """
    if envcfg_allows(h, bits) == 0:
        return raise_illegal(h)
    if translate(h, va, LOAD) != 0:
        page = h[FAULT_CAUSE] == CAUSE_LOAD_PAGE
        if translate(h, va, STORE) != 0:
            return raise_exception(h, CAUSE_STORE_PAGE if page else CAUSE_STORE_ACCESS, va)
    return advance(h)


@native
def cache_block_invalidate(h: Words, va: int) -> int:
    """cbo.inval (performed as a flush, which invalidation always may be)."""
    return cache_block_manage(h, va, ENVCFG_CBIE)


@native
def cache_block_clean(h: Words, va: int) -> int:
    """cbo.clean and cbo.flush."""
    return cache_block_manage(h, va, ENVCFG_CBCFE)


@native
def cache_block_zero(h: Words, va: int) -> int:
    """cbo.zero: clear the aligned 64-byte block that holds `va`.

    Spec: riscv-unpriv 20240411, "Cache-Block Zero Instructions"
    """
    if envcfg_allows(h, ENVCFG_CBZE) == 0:
        return raise_illegal(h)
    fault = translate(h, va, STORE)
    if fault != 0:
        return raise_exception(h, fault, va)
    block = h[RESULT] & ~(CACHE_BLOCK_BYTES - 1) & M64
    if phys_is_ram(h, block, CACHE_BLOCK_BYTES) == 0:
        return raise_exception(h, access_fault(h, va, STORE), va)
    left = phys_zero_block(h, block)
    return left if left else advance(h)
