/* SPDX-License-Identifier: Apache-2.0 */
/* Sstc: stimecmp, its gates, and STIP. */
#include "framework.h"
#define RECORD_STIP csrr a0, mip; andi a0, a0, STI; RECORD(a0)
main:
    li a0, -1
    li a1, CLINT_MTIMECMP
    sd a0, 0(a1)
    /* STCE 0: STIP is software's, stimecmp is M-mode's alone. */
    CLEAR(menvcfg, MENVCFG_STCE)
    SET(mip, STI)
    RECORD_STIP
    CLEAR(mip, STI)
    RECORD_STIP
    PROBE(stimecmp, 0x123456789abcdef0)
    SET(mcounteren, 7)
    GO(MODE_S, do_read)
    /* STCE 1: STIP follows the comparison, and cannot be written. */
    SET(menvcfg, MENVCFG_STCE)
    csrw stimecmp, zero
    RECORD_STIP
    CLEAR(mip, STI)
    RECORD_STIP
    WRITE(stimecmp, -1)
    RECORD_STIP
    SET(mip, STI)
    RECORD_STIP
    GO(MODE_S, do_read)
    GO(MODE_S, do_write)
    READ(stimecmp)
    GO(MODE_U, do_read)
    CLEAR(mcounteren, 2)
    GO(MODE_S, do_read)
    GO(MODE_S, do_write)
    /* Interrupts, to M and to S. */
    SET(mcounteren, 2)
    WRITE(mie, STI)
    csrw stimecmp, zero
    GO(MODE_S, spin)
    WRITE(mideleg, STI)
    WRITE(mie, STI)
    GO(MODE_U, spin)
    GO(MODE_S, read_sip) /* not in M-mode, where QEMU 10.0 does not show STIP in sip */
    RECORD(a0)
    /* A deadline a little ahead, waited for with wfi in S-mode. */
    WRITE(mie, STI)
    csrr a0, time
    addi a0, a0, 2000
    csrw stimecmp, a0
    GO(MODE_S, wait)
    RECORD_STIP
    csrr a1, time
    sltu a0, a1, a0
    RECORD(a0)
    csrr a0, time
    addi a0, a0, 2000
    csrw stimecmp, a0
    SET(mstatus, MSTATUS_SIE)
    WRITE(mie, STI)
    GO(MODE_S, spin)
    FINISH
    .balign 4
do_read: csrr a0, stimecmp; ecall
do_write: li a0, -2; csrw stimecmp, a0; ecall
read_sip: csrr a0, sip; ecall
spin: j spin
wait: wfi; csrr a1, sip; andi a1, a1, STI; beqz a1, wait; ecall
