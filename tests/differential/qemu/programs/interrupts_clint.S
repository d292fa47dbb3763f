/* SPDX-License-Identifier: Apache-2.0 */
/* The CLINT's lines: machine software and timer interrupts, and their priority. */
#include "framework.h"
#define RECORD_MIP csrr a0, mip; li a1, MSI | MTI; and a0, a0, a1; RECORD(a0)
main:
    li a2, CLINT
    li a3, CLINT_MTIMECMP
    li a4, -1
    sd a4, 0(a3)
    RECORD_MIP
    li a4, 1
    sw a4, 0(a2)
1:  csrr a0, mip
    andi a0, a0, MSI
    beqz a0, 1b
    RECORD_MIP
    lw a4, 0(a2)
    RECORD(a4)
    WRITE(mie, MSI)
    GO(MODE_U, spin)
    sd zero, 0(a3)
    WRITE(mie, MTI)
    GO(MODE_S, spin)
    WRITE(mie, MTI | MSI)
    GO(MODE_S, spin)
    sw zero, 0(a2)
    WRITE(mie, MTI | MSI)
    GO(MODE_S, spin)
    /* Only bit 0 of msip is kept. mip.MTIP cannot be written. */
    li a4, -2
    sw a4, 0(a2)
    lw a4, 0(a2)
    RECORD(a4)
    csrw mip, zero
    RECORD_MIP
    li a4, -1
    sd a4, 0(a3)
1:  csrr a0, mip
    andi a0, a0, MTI
    bnez a0, 1b
    RECORD_MIP
    ld a4, 0(a3)
    RECORD(a4)
    lw a4, 4(a3)
    RECORD(a4)
    /* A deadline a little ahead. */
    li a5, CLINT_MTIME
    ld a4, 0(a5)
    addi a4, a4, 2000
    sd a4, 0(a3)
    WRITE(mie, MTI)
    TRY(csrsi mstatus, MSTATUS_MIE; 1: j 1b)
    /* And with wfi. */
    ld a4, 0(a5)
    addi a4, a4, 2000
    sd a4, 0(a3)
    WRITE(mie, MTI)
    CLEAR(mstatus, MSTATUS_MIE)
    wfi
1:  csrr a0, mip
    andi a0, a0, MTI
    beqz a0, 1b
    RECORD_MIP
    ld a6, 0(a5)
    sltu a6, a6, a4
    RECORD(a6)
    FINISH
    .balign 4
spin: j spin
