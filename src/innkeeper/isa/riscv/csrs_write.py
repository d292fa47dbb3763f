# SPDX-License-Identifier: Apache-2.0
"""Writes of control and status registers and their WARL rules, as native functions.

Spec: riscv-priv 20240411, "Machine-Level CSRs", "Supervisor CSRs"
"""

from __future__ import annotations

from innkeeper.ir.native import M64, Words, native
from innkeeper.isa.riscv.counters import cycle_write, inhibit_write, instret_write
from innkeeper.isa.riscv.pmp import pmp_address_write, pmp_config_write
from innkeeper.isa.riscv.state import (
    FFLAGS,
    FRM,
    FS_DIRTY,
    MCAUSE,
    MCOUNTEREN,
    MEDELEG,
    MENVCFG,
    MEPC,
    MIDELEG,
    MIE,
    MIP,
    MSCRATCH,
    MSTATUS,
    MTVAL,
    MTVEC,
    SATP,
    SCAUSE,
    SCOUNTEREN,
    SENVCFG,
    SEPC,
    SSCRATCH,
    STIMECMP,
    STVAL,
    STVEC,
)
from innkeeper.isa.riscv.surroundings import fp_collect, fp_configure, translation_changed
from innkeeper.spec import riscv as _riscv
from innkeeper.spec.riscv import (
    COUNTER_CY,
    COUNTER_IR,
    COUNTER_TM,
    CSR_FCSR,
    CSR_FFLAGS,
    CSR_FRM,
    CSR_MCAUSE,
    CSR_MCOUNTEREN,
    CSR_MCOUNTINHIBIT,
    CSR_MCYCLE,
    CSR_MEDELEG,
    CSR_MENVCFG,
    CSR_MEPC,
    CSR_MIDELEG,
    CSR_MIE,
    CSR_MINSTRET,
    CSR_MIP,
    CSR_MSCRATCH,
    CSR_MSTATUS,
    CSR_MTVAL,
    CSR_MTVEC,
    CSR_PMPADDR0,
    CSR_PMPADDR15,
    CSR_PMPCFG0,
    CSR_PMPCFG2,
    CSR_SATP,
    CSR_SCAUSE,
    CSR_SCOUNTEREN,
    CSR_SENVCFG,
    CSR_SEPC,
    CSR_SIE,
    CSR_SIP,
    CSR_SSCRATCH,
    CSR_SSTATUS,
    CSR_STIMECMP,
    CSR_STVAL,
    CSR_STVEC,
    ENVCFG_CBIE,
    ENVCFG_CBIE_SHIFT,
    MENVCFG_STCE,
    MIP_ALL,
    MIP_SEIP,
    MIP_SSIP,
    MIP_STIP,
    MIP_SUPERVISOR,
    MSTATUS_FS,
    MSTATUS_MPP,
    MSTATUS_MPP_SHIFT,
    SATP_BARE,
    SATP_MODE_SHIFT,
    SATP_SV39,
    SATP_SV57,
)

SSTATUS_WRITABLE = (
    _riscv.MSTATUS_SIE | _riscv.MSTATUS_SPIE | _riscv.MSTATUS_SPP | _riscv.MSTATUS_FS | _riscv.MSTATUS_SUM
    | _riscv.MSTATUS_MXR
)  # fmt: skip
MSTATUS_WRITABLE = (
    SSTATUS_WRITABLE | _riscv.MSTATUS_MIE | _riscv.MSTATUS_MPIE | _riscv.MSTATUS_MPP | _riscv.MSTATUS_MPRV
    | _riscv.MSTATUS_TVM | _riscv.MSTATUS_TW | _riscv.MSTATUS_TSR
)  # fmt: skip
SELECTS_MAPPING = (
    _riscv.MSTATUS_SUM | _riscv.MSTATUS_MXR | _riscv.MSTATUS_MPRV | _riscv.MSTATUS_MPP | _riscv.MSTATUS_FS
)
"""Bits of mstatus of which `translation_changed` tells."""
MEDELEG_WRITABLE = 0xB3FF
"""Exceptions 0..9 and the page faults; an ecall from M-mode cannot be delegated."""
SENVCFG_WRITABLE = _riscv.ENVCFG_FIOM | _riscv.ENVCFG_CBIE | _riscv.ENVCFG_CBCFE | _riscv.ENVCFG_CBZE
MENVCFG_WRITABLE = SENVCFG_WRITABLE | _riscv.MENVCFG_ADUE | _riscv.MENVCFG_STCE
COUNTEREN_WRITABLE = COUNTER_CY | COUNTER_TM | COUNTER_IR
ROUNDING_VALID = 4
"""Rounding modes above this one are reserved: an instruction that uses frm then is illegal."""


@native
def write_status(h: Words, value: int, writable: int) -> int:
    """Write the `writable` bits of mstatus; MPP keeps its value where 2 is written."""
    old = h[MSTATUS]
    new = old & ~writable & M64 | value & writable
    if new >> MSTATUS_MPP_SHIFT & 3 == 2:
        new = new & ~MSTATUS_MPP & M64 | old & MSTATUS_MPP
    if h[FS_DIRTY] and old & MSTATUS_FS:
        old = old | MSTATUS_FS
    h[MSTATUS] = new
    h[FS_DIRTY] = 0
    if (old ^ new) & SELECTS_MAPPING:
        translation_changed(h)
    return 0


@native
def write_frm(h: Words, value: int) -> int:
    """Set the rounding mode (3 bits, reserved ones can be held)."""
    old = h[FRM]
    h[FRM] = value & 7
    if (old > ROUNDING_VALID) != (value & 7 > ROUNDING_VALID):
        translation_changed(h)
    return 0


@native
def write_float(h: Words, number: int, value: int) -> int:
    """fflags, frm, fcsr.

    Spec: riscv-unpriv 20240411, "Floating-Point Control and Status Register"
    """
    fp_collect(h)
    if number == CSR_FFLAGS:
        h[FFLAGS] = value & 0x1F
    elif number == CSR_FRM:
        write_frm(h, value)
    elif number == CSR_FCSR:
        h[FFLAGS] = value & 0x1F
        write_frm(h, value >> 5)
    h[FS_DIRTY] = 1
    fp_configure(h)
    return 0


@native
def write_satp(h: Words, value: int) -> int:
    """satp: nothing is written where the mode is not supported.

    Spec: riscv-priv 20240411, "Supervisor Address Translation and Protection (satp) Register"
    """
    mode = value >> SATP_MODE_SHIFT
    if mode == SATP_BARE or (mode >= SATP_SV39 and mode <= SATP_SV57):
        h[SATP] = value
        translation_changed(h)
    return 0


@native
def vector_value(old: int, value: int) -> int:
    """What xtvec holds after `value` was written: the old value where the mode is reserved."""
    return old if value & 2 else value


@native
def envcfg_value(value: int, writable: int) -> int:
    """xenvcfg's value; the reserved CBIE of 2 becomes 0."""
    value = value & writable
    if value & ENVCFG_CBIE == 2 << ENVCFG_CBIE_SHIFT:
        value = value & ~ENVCFG_CBIE & M64
    return value


@native
def write_supervisor(h: Words, number: int, value: int) -> int:
    """Supervisor-level CSRs."""
    if number == CSR_SSTATUS:
        write_status(h, value, SSTATUS_WRITABLE)
    elif number == CSR_SATP:
        write_satp(h, value)
    elif number == CSR_SSCRATCH:
        h[SSCRATCH] = value
    elif number == CSR_SEPC:
        h[SEPC] = value & ~1 & M64
    elif number == CSR_STIMECMP:
        h[STIMECMP] = value
    elif number == CSR_SCAUSE:
        h[SCAUSE] = value
    elif number == CSR_STVAL:
        h[STVAL] = value
    elif number == CSR_STVEC:
        h[STVEC] = vector_value(h[STVEC], value)
    elif number == CSR_SIE:
        h[MIE] = h[MIE] & ~h[MIDELEG] & M64 | value & h[MIDELEG] & MIP_SUPERVISOR
    elif number == CSR_SIP:
        write_mip(h, value, MIP_SSIP & h[MIDELEG])
    elif number == CSR_SCOUNTEREN:
        h[SCOUNTEREN] = value & COUNTEREN_WRITABLE
    elif number == CSR_SENVCFG:
        h[SENVCFG] = envcfg_value(value, SENVCFG_WRITABLE)
    return 0


@native
def write_mip(h: Words, value: int, writable: int) -> int:
    """Write the `writable` bits of the software part of mip."""
    h[MIP] = h[MIP] & ~writable & M64 | value & writable
    return 0


@native
def write_machine(h: Words, number: int, value: int) -> int:
    """Machine-level CSRs. What is read-only zero or WARL with one value (misa) ignores the write."""
    if number == CSR_MSTATUS:
        write_status(h, value, MSTATUS_WRITABLE)
    elif number == CSR_MSCRATCH:
        h[MSCRATCH] = value
    elif number == CSR_MEPC:
        h[MEPC] = value & ~1 & M64
    elif number == CSR_MCAUSE:
        h[MCAUSE] = value
    elif number == CSR_MTVAL:
        h[MTVAL] = value
    elif number == CSR_MTVEC:
        h[MTVEC] = vector_value(h[MTVEC], value)
    elif number == CSR_MIE:
        h[MIE] = value & MIP_ALL
    elif number == CSR_MIP:
        write_mip(h, value, MIP_SSIP | MIP_SEIP | (0 if h[MENVCFG] & MENVCFG_STCE else MIP_STIP))
    elif number == CSR_MEDELEG:
        h[MEDELEG] = value & MEDELEG_WRITABLE
    elif number == CSR_MIDELEG:
        h[MIDELEG] = value & MIP_SUPERVISOR
    elif number == CSR_MENVCFG:
        write_menvcfg(h, value)
    else:
        write_machine_counter(h, number, value)
    return 0


@native
def write_menvcfg(h: Words, value: int) -> int:
    """menvcfg; where STCE changes, STIP changes hands and the software's bit is dropped.

    ADUE needs no word to the engine: what was translated before stays allowed until a fence.
    """
    new = envcfg_value(value, MENVCFG_WRITABLE)
    if (new ^ h[MENVCFG]) & MENVCFG_STCE:
        h[MIP] = h[MIP] & ~MIP_STIP & M64
    h[MENVCFG] = new
    return 0


@native
def write_machine_counter(h: Words, number: int, value: int) -> int:
    """Counters, their controls, and PMP."""
    if number >= CSR_PMPADDR0 and number <= CSR_PMPADDR15:
        pmp_address_write(h, number - CSR_PMPADDR0, value)
    elif number == CSR_PMPCFG0:
        pmp_config_write(h, 0, value)
    elif number == CSR_PMPCFG2:
        pmp_config_write(h, 1, value)
    elif number == CSR_MCOUNTEREN:
        h[MCOUNTEREN] = value & COUNTEREN_WRITABLE
    elif number == CSR_MCOUNTINHIBIT:
        inhibit_write(h, value)
    elif number == CSR_MCYCLE:
        cycle_write(h, value)
    elif number == CSR_MINSTRET:
        instret_write(h, value)
    return 0
