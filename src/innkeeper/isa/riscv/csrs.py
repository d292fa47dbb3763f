# SPDX-License-Identifier: Apache-2.0
"""Access to control and status registers, as native functions.

`read_csr` and `write_csr` know every CSR and its WARL rules; `access_csr` is what the instructions call. What
is not here does not exist and is an illegal instruction.

Spec: riscv-priv 20240411, "Control and Status Registers (CSRs)", "Machine-Level CSRs", "Supervisor CSRs"
"""

from __future__ import annotations

from innkeeper.ir.native import M64, Words, native
from innkeeper.isa.riscv.counters import cycle_value, instret_value, time_value
from innkeeper.isa.riscv.csrs_write import write_float, write_machine, write_supervisor
from innkeeper.isa.riscv.pmp import pmp_address_read
from innkeeper.isa.riscv.privileged import advance
from innkeeper.isa.riscv.state import (
    FFLAGS,
    FRM,
    FS_DIRTY,
    MCAUSE,
    MCOUNTEREN,
    MCOUNTINHIBIT,
    MEDELEG,
    MENVCFG,
    MEPC,
    MHARTID,
    MIDELEG,
    MIE,
    MIP,
    MISA,
    MSCRATCH,
    MSTATUS,
    MTVAL,
    MTVEC,
    PMPCFG,
    PRIV,
    RESULT,
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
from innkeeper.isa.riscv.surroundings import fp_collect
from innkeeper.isa.riscv.traps import mip_value, raise_illegal
from innkeeper.spec import riscv as _riscv
from innkeeper.spec.riscv import (
    COUNTER_TM,
    CSR_CYCLE,
    CSR_FCSR,
    CSR_FFLAGS,
    CSR_FRM,
    CSR_INSTRET,
    CSR_MCAUSE,
    CSR_MCONFIGPTR,
    CSR_MCOUNTEREN,
    CSR_MCOUNTINHIBIT,
    CSR_MCYCLE,
    CSR_MEDELEG,
    CSR_MENVCFG,
    CSR_MEPC,
    CSR_MHARTID,
    CSR_MHPMCOUNTER3,
    CSR_MHPMCOUNTER31,
    CSR_MHPMEVENT3,
    CSR_MHPMEVENT31,
    CSR_MIDELEG,
    CSR_MIE,
    CSR_MINSTRET,
    CSR_MIP,
    CSR_MISA,
    CSR_MSCRATCH,
    CSR_MSTATUS,
    CSR_MTVAL,
    CSR_MTVEC,
    CSR_MVENDORID,
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
    CSR_TIME,
    MENVCFG_STCE,
    MSTATUS_FS,
    MSTATUS_SD,
    MSTATUS_TVM,
    PRIV_M,
    PRIV_S,
    PRIV_U,
)

SSTATUS_MASK = (
    _riscv.MSTATUS_SIE | _riscv.MSTATUS_SPIE | _riscv.MSTATUS_SPP | _riscv.MSTATUS_FS | _riscv.MSTATUS_SUM
    | _riscv.MSTATUS_MXR | 3 << 32 | _riscv.MSTATUS_SD
)  # fmt: skip
"""What sstatus shows of mstatus; 3 << 32 is UXL."""

CSR_WRITE = 0
CSR_SET = 1
CSR_CLEAR = 2
"""Kinds of access: csrrw, csrrs, csrrc."""


@native
def status_value(h: Words) -> int:
    """mstatus with FS as it is now, and SD.

    Spec: riscv-priv 20240411, "Extension Context Status in mstatus Register"
    """
    status = h[MSTATUS]
    if h[FS_DIRTY] and status & MSTATUS_FS:
        status = status | MSTATUS_FS
    return status | MSTATUS_SD if status & MSTATUS_FS == MSTATUS_FS else status


@native
def csr_allowed(h: Words, number: int, writes: int) -> int:
    """1 if the address may be accessed at this privilege, and written if it `writes`.

    Spec: riscv-priv 20240411, "CSR Address Mapping Conventions"
    """
    if writes and number >> 10 == 3:
        return 0
    return 1 if h[PRIV] >= number >> 8 & 3 else 0


@native
def counter_allowed(h: Words, bit: int) -> int:
    """1 if mcounteren, and for U-mode scounteren, show the counter.

    Spec: riscv-priv 20240411, "Machine Counter-Enable (mcounteren) Register"
    """
    if h[PRIV] != PRIV_M and h[MCOUNTEREN] & bit == 0:
        return 0
    if h[PRIV] == PRIV_U and h[SCOUNTEREN] & bit == 0:
        return 0
    return 1


@native
def found(h: Words, value: int) -> int:
    """Let `value` be what `read_csr` found."""
    h[RESULT] = value
    return 1


@native
def read_csr(h: Words, number: int) -> int:
    """1 with the CSR's value in RESULT; 0 if it does not exist or is not to be had now.

    The privilege that its number asks for is checked by `csr_allowed`.
    """
    group = number >> 8
    if group == 1:
        return read_supervisor(h, number)
    if group == 0:
        return read_float(h, number)
    if group == 0xC:
        return read_counter(h, number)
    if group == 3:
        return read_machine(h, number)
    return read_machine_counter(h, number)


@native
def read_float(h: Words, number: int) -> int:
    """fflags, frm, fcsr; not there while FS is off."""
    if h[MSTATUS] & MSTATUS_FS == 0:
        return 0
    if number == CSR_FRM:
        return found(h, h[FRM])
    if number != CSR_FFLAGS and number != CSR_FCSR:
        return 0
    fp_collect(h)
    return found(h, h[FFLAGS] if number == CSR_FFLAGS else h[FFLAGS] | h[FRM] << 5)


@native
def read_counter(h: Words, number: int) -> int:
    """cycle, time, instret. Zihpm's counters do not exist."""
    if number < CSR_CYCLE or number > CSR_INSTRET or counter_allowed(h, 1 << (number - CSR_CYCLE)) == 0:
        return 0
    if number == CSR_TIME:
        return found(h, time_value(h))
    return found(h, cycle_value(h) if number == CSR_CYCLE else instret_value(h))


@native
def read_supervisor(h: Words, number: int) -> int:
    """Supervisor-level CSRs."""
    if number == CSR_SSTATUS:
        return found(h, status_value(h) & SSTATUS_MASK)
    if number == CSR_SCAUSE:
        return found(h, h[SCAUSE])
    if number == CSR_SEPC:
        return found(h, h[SEPC])
    if number == CSR_STVAL:
        return found(h, h[STVAL])
    if number == CSR_SSCRATCH:
        return found(h, h[SSCRATCH])
    if number == CSR_SIE:
        return found(h, h[MIE] & h[MIDELEG])
    if number == CSR_SIP:
        return found(h, mip_value(h) & h[MIDELEG])
    if number == CSR_STVEC:
        return found(h, h[STVEC])
    if number == CSR_SCOUNTEREN:
        return found(h, h[SCOUNTEREN])
    if number == CSR_SENVCFG:
        return found(h, h[SENVCFG])
    if number == CSR_SATP:
        if h[PRIV] == PRIV_S and h[MSTATUS] & MSTATUS_TVM:
            return 0
        return found(h, h[SATP])
    if number == CSR_STIMECMP:
        # "Machine Environment Configuration (menvcfg) Register", STCE; and mcounteren.TM.
        if h[PRIV] != PRIV_M and (h[MENVCFG] & MENVCFG_STCE == 0 or h[MCOUNTEREN] & COUNTER_TM == 0):
            return 0
        return found(h, h[STIMECMP])
    return 0


@native
def read_machine(h: Words, number: int) -> int:
    """Machine-level CSRs 0x3xx."""
    if number == CSR_MSTATUS:
        return found(h, status_value(h))
    if number == CSR_MCAUSE:
        return found(h, h[MCAUSE])
    if number == CSR_MEPC:
        return found(h, h[MEPC])
    if number == CSR_MTVAL:
        return found(h, h[MTVAL])
    if number == CSR_MSCRATCH:
        return found(h, h[MSCRATCH])
    if number == CSR_MIP:
        return found(h, mip_value(h))
    if number == CSR_MIE:
        return found(h, h[MIE])
    if number == CSR_MISA:
        return found(h, h[MISA])
    if number == CSR_MEDELEG:
        return found(h, h[MEDELEG])
    if number == CSR_MIDELEG:
        return found(h, h[MIDELEG])
    if number == CSR_MTVEC:
        return found(h, h[MTVEC])
    if number == CSR_MCOUNTEREN:
        return found(h, h[MCOUNTEREN])
    if number == CSR_MENVCFG:
        return found(h, h[MENVCFG])
    if number == CSR_MCOUNTINHIBIT:
        return found(h, h[MCOUNTINHIBIT])
    if number == CSR_PMPCFG0:
        return found(h, h[PMPCFG])
    if number == CSR_PMPCFG2:
        return found(h, h[PMPCFG + 1])
    if number >= CSR_PMPADDR0 and number <= CSR_PMPADDR15:
        return found(h, pmp_address_read(h, number - CSR_PMPADDR0))
    if number >= CSR_MHPMEVENT3 and number <= CSR_MHPMEVENT31:
        return found(h, 0)
    return 0


@native
def read_machine_counter(h: Words, number: int) -> int:
    """mcycle, minstret, the mhpmcounters (all zero) and the machine information registers."""
    if number == CSR_MCYCLE:
        return found(h, cycle_value(h))
    if number == CSR_MINSTRET:
        return found(h, instret_value(h))
    if number >= CSR_MHPMCOUNTER3 and number <= CSR_MHPMCOUNTER31:
        return found(h, 0)
    if number == CSR_MHARTID:
        return found(h, h[MHARTID])
    if number >= CSR_MVENDORID and number <= CSR_MCONFIGPTR:
        return found(h, 0)
    return 0


@native
def write_csr(h: Words, number: int, value: int) -> int:
    """Write `value` as the CSR's rules let it; the CSR exists and may be written."""
    group = number >> 8
    if group == 1:
        return write_supervisor(h, number, value)
    if group == 0:
        return write_float(h, number, value)
    return write_machine(h, number, value)


@native
def access_csr(h: Words, number: int, value: int, kind: int, writes: int) -> int:
    """csrrw, csrrs, csrrc (`kind`) of `value`; without `writes` only a read. RESULT holds the old value.

    Returns OUTCOME_NEXT, or OUTCOME_TRAP where the access is illegal.

    Spec: riscv-unpriv 20240411, "Zicsr"
    """
    if csr_allowed(h, number, writes) == 0 or read_csr(h, number) == 0:
        return raise_illegal(h)
    old = h[RESULT]
    if writes:
        # "Machine Interrupt (mip and mie) Registers": the lines of devices take no part in the modification.
        before = old
        if number & 0xFF == CSR_SIP & 0xFF and number < CSR_CYCLE:
            before = h[MIP]
        new = value
        if kind == CSR_SET:
            new = before | value
        elif kind == CSR_CLEAR:
            new = before & ~value & M64
        write_csr(h, number, new)
        h[RESULT] = old
    return advance(h)
