/* SPDX-License-Identifier: Apache-2.0 */
/* mret and sret: the status stack, and TSR, TVM, TW. */
#include "framework.h"
#define RECORD_STATUS csrr a0, mstatus; li a1, MSTATUS_RECORDED; and a0, a0, a1; RECORD(a0)
main:
    /* mret to M with MPIE 0 and 1. */
    SET(mstatus, MSTATUS_MPP)
    CLEAR(mstatus, MSTATUS_MPIE)
    la a2, 1f
    csrw mepc, a2
    mret
    .balign 4
1:  RECORD_STATUS
    SET(mstatus, MSTATUS_MPP | MSTATUS_MPIE | MSTATUS_MPRV)
    la a2, 1f
    csrw mepc, a2
    mret
    .balign 4
1:  RECORD_STATUS
    CLEAR(mstatus, MSTATUS_MIE)
    /* mret to S clears MPRV, which M-mode sees after the trap. */
    SET(mstatus, MSTATUS_MPRV)
    GO(MODE_S, do_ecall)
    RECORD_STATUS
    /* sret in S-mode to U, SPIE 1. */
    SET(mstatus, MSTATUS_SPIE | MSTATUS_MPRV)
    CLEAR(mstatus, MSTATUS_SPP)
    la a2, do_ecall
    csrw sepc, a2
    GO(MODE_S, do_sret)
    RECORD_STATUS
    /* sret in S-mode to S. */
    SET(mstatus, MSTATUS_SPP)
    CLEAR(mstatus, MSTATUS_SPIE)
    GO(MODE_S, do_sret)
    RECORD_STATUS
    /* sret in M-mode. */
    SET(mstatus, MSTATUS_SPP | MSTATUS_SPIE)
    la a2, do_ecall
    csrw sepc, a2
    TRY(sret)
    RECORD_STATUS
    /* TSR, TVM, TW. */
    SET(mstatus, MSTATUS_TSR)
    GO(MODE_S, do_sret)
    CLEAR(mstatus, MSTATUS_TSR)
    SET(mstatus, MSTATUS_TVM)
    GO(MODE_S, do_read_satp)
    GO(MODE_S, do_write_satp)
    GO(MODE_S, do_sfence)
    GO(MODE_S, do_sinval)
    READ(satp)
    CLEAR(mstatus, MSTATUS_TVM)
    GO(MODE_S, do_read_satp)
    GO(MODE_S, do_sfence)
    SET(mstatus, MSTATUS_TW)
    GO(MODE_S, do_wfi)
    CLEAR(mstatus, MSTATUS_TW)
    FINISH
    .balign 4
do_ecall: ecall
do_sret: sret
do_read_satp: csrr a0, satp; ecall
do_write_satp: csrw satp, zero; ecall
do_sfence: sfence.vma; ecall
do_sinval: .insn r 0x73, 0, 0x0b, x0, x0, x0; ecall /* sinval.vma */
do_wfi: wfi; ecall
