/* SPDX-License-Identifier: Apache-2.0 */
/* medeleg: what is delegated goes to S-mode from U and S, never from M. */
#include "framework.h"
main:
    li a0, (1 << 8) | (1 << 2) | (1 << 3) | (1 << 5) | (1 << 7) | (1 << 1)
    csrw medeleg, a0
    READ(medeleg)
    GO(MODE_U, do_ecall)
    GO(MODE_S, do_ecall)
    GO(MODE_U, do_ebreak)
    GO(MODE_S, do_ebreak)
    GO(MODE_U, do_illegal)
    GO(MODE_S, do_illegal)
    GO(MODE_U, do_load)
    GO(MODE_S, do_load)
    GO(MODE_U, do_store)
    GO(MODE_U, do_amo)
    li a0, NOTHING_THERE
    GO_AT(MODE_U, a0)
    TRY(ecall)
    TRY(ebreak)
    TRY(.word 0)
    li a0, NOTHING_THERE
    TRY(lw a1, 0(a0))
    /* Status stacking: interrupts enabled in S before the trap. */
    SET(mstatus, MSTATUS_SIE)
    GO(MODE_S, do_ebreak)
    SET(mstatus, MSTATUS_SIE)
    GO(MODE_U, do_ebreak)
    CLEAR(mstatus, MSTATUS_SIE)
    csrw medeleg, zero
    GO(MODE_U, do_ecall)
    FINISH
    .balign 4
do_ecall: ecall
do_ebreak: ebreak
do_illegal: .word 0xffffffff
do_load: li a0, NOTHING_THERE; lw a0, 4(a0); ecall
do_store: li a0, NOTHING_THERE; sd a0, 8(a0); ecall
do_amo: li a0, NOTHING_THERE; amoadd.d a0, a0, (a0); ecall
