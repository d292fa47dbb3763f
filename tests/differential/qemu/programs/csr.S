/* SPDX-License-Identifier: Apache-2.0 */
/* Which values CSRs keep. Only bits on which implementations of our options must agree are recorded. */
#include "framework.h"
#define PATTERN 0xa5a5a5a5deadbeee /* even: QEMU 10.0 keeps bit 0 of xepc, against the specification */
main:
    PROBE(mscratch, PATTERN)
    PROBE(sscratch, ~PATTERN)
    PROBE(mepc, PATTERN)
    PROBE(mepc, 0xfffffffffffffffe)
    PROBE(sepc, PATTERN)
    PROBE(mtval, PATTERN)
    PROBE(stval, ~PATTERN)
    PROBE(mcause, 11)
    PROBE(mcause, 0x8000000000000007)
    PROBE(scause, 0x8000000000000009)
    PROBE(scause, 15)
    PROBE(stvec, 0xffffffffdeadbee4)
    PROBE(stvec, 0xffffffffdeadbee5)
    la a0, s_trap
    csrw stvec, a0
    /* Trap delegation and interrupts: standard causes only. */
    PROBE_MASKED(medeleg, -1, 0xb3ff)
    csrw medeleg, zero
    PROBE_MASKED(mideleg, -1, 0xaaa)
    PROBE_MASKED(mie, -1, 0xaaa)
    csrr a0, sie
    andi a0, a0, 0x2aa
    RECORD(a0)
    csrw mideleg, zero
    csrr a0, sie
    andi a0, a0, 0x2aa
    RECORD(a0)
    csrw mie, zero
    PROBE_MASKED(mip, -1, 0x222)
    csrw mip, zero
    csrr a0, mip
    andi a0, a0, 0x222
    RECORD(a0)
    /* sstatus is a view of mstatus. */
    csrr s0, mstatus
    WRITE(mstatus, 0)
    csrr a0, mstatus
    li a1, 0xf00000000
    and a0, a0, a1
    RECORD(a0)
    SET(sstatus, -1)
    csrr a0, sstatus
    /* Without VS, SDT, SPELP, which belong to other options, and UXL: QEMU 10.0 lets it become 3, against its WARL
     * rule. */
    li a1, ~(3 << 9 | 1 << 24 | 1 << 23 | 3 << 32)
    and a0, a0, a1
    RECORD(a0)
    csrr a0, mstatus
    li a1, MSTATUS_RECORDED
    and a0, a0, a1
    RECORD(a0)
    CLEAR(sstatus, -1)
    SET(mstatus, MSTATUS_TVM | MSTATUS_TW | MSTATUS_TSR | MSTATUS_MPRV)
    csrr a0, mstatus
    li a1, MSTATUS_RECORDED
    and a0, a0, a1
    RECORD(a0)
    csrw mstatus, s0
    /* satp keeps only modes that exist. */
    csrw satp, zero
    PROBE(satp, 8 << 60 | 0x1234 << 44 | 0x80000)
    PROBE(satp, 9 << 60 | 0x1234 << 44 | 0x80001)
    PROBE(satp, 10 << 60 | 0xffff << 44 | 0x80002)
    csrw satp, zero
    PROBE(satp, 1 << 60 | 0x80003)
    PROBE(satp, 15 << 60 | 0x80004)
    csrw satp, zero
    /* Counter enables, environment configuration. */
    PROBE_MASKED(mcounteren, -1, 7)
    PROBE_MASKED(scounteren, -1, 7)
    csrw mcounteren, zero
    csrw scounteren, zero
    PROBE_MASKED(menvcfg, -1, 0xe0000000000000f1 & ~(1 << 62))
    csrw menvcfg, zero
    PROBE_MASKED(senvcfg, -1, 0xf1)
    csrw senvcfg, zero
    PROBE_MASKED(mcountinhibit, -1, 7)
    csrw mcountinhibit, zero
    csrr a0, misa
    li a1, 0x8000000000000000 | 1 << 0 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 8 | 1 << 12 | 1 << 18 | 1 << 20
    and a0, a0, a1
    RECORD(a0)
    READ(mhartid)
    /* Read-modify-write forms. */
    WRITE(mscratch, 0xff00)
    li a0, 0x0ff0
    csrrw a1, mscratch, a0
    RECORD(a1)
    csrrs a1, mscratch, a0
    RECORD(a1)
    csrrc a1, mscratch, a0
    RECORD(a1)
    csrrwi a1, mscratch, 31
    RECORD(a1)
    csrrsi a1, mscratch, 7
    RECORD(a1)
    csrrci a1, mscratch, 5
    RECORD(a1)
    READ(mscratch)
    csrrw a0, mscratch, a0
    RECORD(a0)
    READ(mscratch)
    FINISH
