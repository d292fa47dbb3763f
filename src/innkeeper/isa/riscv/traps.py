# SPDX-License-Identifier: Apache-2.0
"""Exceptions, interrupts and the return from them, as native functions.

Spec: riscv-priv 20240411, "Machine Trap Delegation (medeleg and mideleg) Registers", "Privilege and Global
Interrupt-Enable Stack in mstatus register", "Machine Interrupt (mip and mie) Registers".
"""

from __future__ import annotations

from innkeeper.ir.native import M64, Words, native
from innkeeper.isa.riscv.counters import time_value
from innkeeper.isa.riscv.state import (
    IRQ_LINES,
    MCAUSE,
    MEDELEG,
    MENVCFG,
    MEPC,
    MIDELEG,
    MIE,
    MIP,
    MSTATUS,
    MTIMECMP,
    MTVAL,
    MTVEC,
    OUTCOME_NEXT,
    OUTCOME_TRAP,
    PC,
    PRIV,
    SCAUSE,
    SEPC,
    STIMECMP,
    STVAL,
    STVEC,
    TRAP_COUNT,
)
from innkeeper.isa.riscv.surroundings import take_ipi, translation_changed
from innkeeper.isa.riscv.translation import fetch_half
from innkeeper.spec.riscv import (
    CAUSE_ILLEGAL_INSTRUCTION,
    CAUSE_INTERRUPT,
    IRQ_M_EXTERNAL,
    IRQ_M_SOFTWARE,
    IRQ_M_TIMER,
    IRQ_S_EXTERNAL,
    IRQ_S_SOFTWARE,
    IRQ_S_TIMER,
    MENVCFG_STCE,
    MIP_ALL,
    MIP_MTIP,
    MIP_SSIP,
    MIP_STIP,
    MSTATUS_MIE,
    MSTATUS_MPIE,
    MSTATUS_MPP,
    MSTATUS_MPP_SHIFT,
    MSTATUS_MPRV,
    MSTATUS_SIE,
    MSTATUS_SPIE,
    MSTATUS_SPP,
    MSTATUS_TSR,
    PRIV_M,
    PRIV_S,
    PRIV_U,
)


@native
def vector(base: int, cause: int) -> int:
    """Where a trap goes: xtvec's base, plus 4 * cause for an interrupt in vectored mode.

    Spec: riscv-priv 20240411, "Machine Trap-Vector Base-Address (mtvec) Register"
    """
    if base & 1 and cause & CAUSE_INTERRUPT:
        return ((base & ~3) + 4 * (cause & 0x3F)) & M64
    return base & ~3 & M64


@native
def enter_supervisor(h: Words, cause: int, tval: int) -> int:
    """Take a trap into S-mode; `cause` as scause holds it."""
    status = h[MSTATUS] & ~(MSTATUS_SPIE | MSTATUS_SIE | MSTATUS_SPP) & M64
    if h[MSTATUS] & MSTATUS_SIE:
        status = status | MSTATUS_SPIE
    if h[PRIV] != PRIV_U:
        status = status | MSTATUS_SPP
    h[MSTATUS] = status
    h[SCAUSE] = cause
    h[SEPC] = h[PC]
    h[STVAL] = tval
    h[PC] = vector(h[STVEC], cause)
    h[PRIV] = PRIV_S
    return trapped(h)


@native
def enter_machine(h: Words, cause: int, tval: int) -> int:
    """Take a trap into M-mode; `cause` as mcause holds it."""
    status = h[MSTATUS] & ~(MSTATUS_MPIE | MSTATUS_MIE | MSTATUS_MPP) & M64
    if h[MSTATUS] & MSTATUS_MIE:
        status = status | MSTATUS_MPIE
    h[MSTATUS] = status | h[PRIV] << MSTATUS_MPP_SHIFT
    h[MCAUSE] = cause
    h[MEPC] = h[PC]
    h[MTVAL] = tval
    h[PC] = vector(h[MTVEC], cause)
    h[PRIV] = PRIV_M
    return trapped(h)


@native
def trapped(h: Words) -> int:
    """What every trap ends with."""
    h[TRAP_COUNT] = (h[TRAP_COUNT] + 1) & M64
    translation_changed(h)
    return OUTCOME_TRAP


@native
def raise_exception(h: Words, cause: int, tval: int) -> int:
    """Let the instruction at PC trap with `cause` (0..63); returns OUTCOME_TRAP."""
    if h[PRIV] != PRIV_M and h[MEDELEG] >> cause & 1:
        return enter_supervisor(h, cause, tval)
    return enter_machine(h, cause, tval)


@native
def raise_illegal(h: Words) -> int:
    """Illegal instruction at PC; tval holds its bits. Returns OUTCOME_TRAP; RESULT and FAULT_* are lost.

    Spec: riscv-priv 20240411, "Machine Trap Value (mtval) Register"
    """
    bits = fetch_half(h, h[PC])
    if bits & 3 == 3:
        bits = bits | fetch_half(h, (h[PC] + 2) & M64) << 16
    return raise_exception(h, CAUSE_ILLEGAL_INSTRUCTION, bits)


@native
def mip_value(h: Words) -> int:
    """The mip CSR: what software set, the lines of devices, and the timers. Takes the IPI mail.

    Spec: riscv-priv 20240411, "Supervisor Timer (stimecmp) Register" for STIP
    """
    if take_ipi(h):
        h[MIP] = h[MIP] | MIP_SSIP
    pending = (h[MIP] | h[IRQ_LINES]) & MIP_ALL
    now = time_value(h)
    if h[MENVCFG] & MENVCFG_STCE:
        pending = pending & ~MIP_STIP & M64
        if now >= h[STIMECMP]:
            pending = pending | MIP_STIP
    if now >= h[MTIMECMP]:
        pending = pending | MIP_MTIP
    return pending


@native
def highest_interrupt(pending: int) -> int:
    """The interrupt with the highest priority among the bits set (at least one), by number.

    Spec: riscv-priv 20240411, "Machine Interrupt (mip and mie) Registers": MEI, MSI, MTI, SEI, SSI, STI
    """
    if pending >> IRQ_M_EXTERNAL & 1:
        return IRQ_M_EXTERNAL
    if pending >> IRQ_M_SOFTWARE & 1:
        return IRQ_M_SOFTWARE
    if pending >> IRQ_M_TIMER & 1:
        return IRQ_M_TIMER
    if pending >> IRQ_S_EXTERNAL & 1:
        return IRQ_S_EXTERNAL
    if pending >> IRQ_S_SOFTWARE & 1:
        return IRQ_S_SOFTWARE
    return IRQ_S_TIMER


@native
def pending_interrupt(h: Words) -> int:
    """The number of the interrupt to take now plus 1, or 0."""
    pending = mip_value(h) & h[MIE]
    if pending == 0:
        return 0
    machine = pending & ~h[MIDELEG] & M64
    if machine != 0 and (h[PRIV] != PRIV_M or h[MSTATUS] & MSTATUS_MIE):
        return highest_interrupt(machine) + 1
    supervisor = pending & h[MIDELEG]
    if supervisor == 0 or h[PRIV] == PRIV_M or (h[PRIV] == PRIV_S and h[MSTATUS] & MSTATUS_SIE == 0):
        return 0
    return highest_interrupt(supervisor) + 1


@native
def take_interrupt(h: Words, number: int) -> int:
    """Enter the handler of interrupt `number`; PC is the instruction that it comes before."""
    if h[MIDELEG] >> number & 1 and h[PRIV] != PRIV_M:
        return enter_supervisor(h, CAUSE_INTERRUPT | number, 0)
    return enter_machine(h, CAUSE_INTERRUPT | number, 0)


@native
def poll_interrupt(h: Words) -> int:
    """Take the interrupt that is due; 1 if one was taken."""
    found = pending_interrupt(h)
    if found == 0:
        return 0
    take_interrupt(h, found - 1)
    return 1


@native
def return_from_supervisor(h: Words) -> int:
    """sret.

    Spec: riscv-priv 20240411, "Supervisor-Level ISA", "Privilege and Global Interrupt-Enable Stack"
    """
    status = h[MSTATUS]
    if h[PRIV] == PRIV_U or (h[PRIV] == PRIV_S and status & MSTATUS_TSR):
        return raise_illegal(h)
    h[PRIV] = PRIV_S if status & MSTATUS_SPP else PRIV_U
    kept = status & ~(MSTATUS_SIE | MSTATUS_SPP | MSTATUS_MPRV) & M64
    if status & MSTATUS_SPIE:
        kept = kept | MSTATUS_SIE
    h[MSTATUS] = kept | MSTATUS_SPIE
    h[PC] = h[SEPC]
    translation_changed(h)
    return OUTCOME_NEXT


@native
def return_from_machine(h: Words) -> int:
    """mret.

    Spec: riscv-priv 20240411, "Trap-Return Instructions"
    """
    status = h[MSTATUS]
    if h[PRIV] != PRIV_M:
        return raise_illegal(h)
    previous = status >> MSTATUS_MPP_SHIFT & 3
    kept = status & ~(MSTATUS_MIE | MSTATUS_MPP) & M64
    if status & MSTATUS_MPIE:
        kept = kept | MSTATUS_MIE
    if previous != PRIV_M:
        kept = kept & ~MSTATUS_MPRV & M64
    h[PRIV] = previous
    h[MSTATUS] = kept | MSTATUS_MPIE
    h[PC] = h[MEPC]
    translation_changed(h)
    return OUTCOME_NEXT
