/* SPDX-License-Identifier: Apache-2.0 */
/* Exceptions of S-mode and U-mode that go to M-mode. */
#include "framework.h"
main:
    GO(MODE_S, do_ecall)
    GO(MODE_U, do_ecall)
    GO(MODE_S, do_ebreak)
    GO(MODE_U, do_ebreak)
    GO(MODE_S, do_illegal)
    GO(MODE_U, do_illegal)
    HIDE_ILLEGAL_TVAL
    GO(MODE_S, do_mret)
    GO(MODE_U, do_mret)
    SHOW_ILLEGAL_TVAL
    GO(MODE_U, do_sret)
    GO(MODE_U, do_wfi)
    GO(MODE_U, do_sfence)
    GO(MODE_S, do_read_mstatus)
    GO(MODE_U, do_read_mstatus)
    GO(MODE_U, do_read_sstatus)
    GO(MODE_U, do_read_satp)
    GO(MODE_S, do_read_sstatus)
    GO(MODE_S, do_load)
    GO(MODE_U, do_load)
    GO(MODE_U, do_store)
    li a0, NOTHING_THERE
    GO_AT(MODE_U, a0)
    li a0, NOTHING_THERE + 2
    GO_AT(MODE_S, a0)
    FINISH
    .balign 4
do_ecall: ecall
do_ebreak: ebreak
do_illegal: .word 0
do_mret: mret
do_sret: sret
do_wfi: wfi; ecall
do_sfence: sfence.vma; ecall
do_read_mstatus: csrr a0, mstatus; ecall
do_read_sstatus: csrr a0, sstatus; ecall
do_read_satp: csrr a0, satp; ecall
do_load: li a0, NOTHING_THERE; lw a0, 4(a0); ecall
do_store: li a0, NOTHING_THERE; sd a0, 8(a0); ecall
