/* SPDX-License-Identifier: Apache-2.0 */
/* wfi with interrupts pending but not taken, in each mode; wrs. */
#include "framework.h"
#define WRS_NTO .word 0x00d00073
#define WRS_STO .word 0x01d00073
main:
    /* Pending and enabled in mie, MIE 0: wfi goes on. */
    WRITE(mie, SSI)
    csrwi mip, SSI
    wfi
    RECORD(zero)
    WRITE(mideleg, SSI)
    wfi
    RECORD(zero)
    CLEAR(mstatus, MSTATUS_SIE)
    GO(MODE_S, do_wfi)
    /* Taken behind the wfi when it may be. */
    SET(mstatus, MSTATUS_SIE)
    CLEAR(mie, SSI)
    GO(MODE_S, do_enable_and_wait)
    CLEAR(mstatus, MSTATUS_SIE)
    csrw mip, zero
    csrw mie, zero
    GO(MODE_U, do_wfi)
    /* wrs.sto ends by itself, wrs.nto with an interrupt pending. */
    la a0, data
    lr.d a1, (a0)
    TRY(WRS_STO)
    GO(MODE_U, do_wrs_sto)
    WRITE(mie, SSI)
    csrwi mip, SSI
    GO(MODE_S, do_wrs_nto)
    FINISH
    .balign 4
do_wfi: wfi; ecall
do_enable_and_wait: csrsi sie, SSI; wfi; ecall
do_wrs_sto: WRS_STO; ecall
do_wrs_nto: WRS_NTO; ecall
    .balign 8
data: .dword 0
