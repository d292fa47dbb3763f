/* SPDX-License-Identifier: Apache-2.0 */
/* Atomics under translation report store faults; lr reports load faults. */
#include "framework.h"
#define PAGE(n) (0x40000000 + (n) * 0x1000)
#define EACH(page) \
    li a1, PAGE(page); GO(MODE_S, do_lr); GO(MODE_S, do_amo); GO(MODE_S, do_amo_w); GO(MODE_S, do_lr_sc); \
    RECORD(a0)
main:
    LEAF(level2, 2, RAM, PTE_RWX)
    LINK(level2, 1, level1)
    LINK(level1, 0, level0)
    LEAF_OF(level0, 0, data, PTE_RW)
    LEAF_OF(level0, 1, data, PTE_V | PTE_R | PTE_A)
    LEAF_OF(level0, 2, data, PTE_V | PTE_X | PTE_A)
    LEAF_OF(level0, 3, data, PTE_RW | PTE_U)
    LEAF(level0, 4, NOTHING_THERE, PTE_RW)
    SATP(SV39, level2)
    EACH(0)
    EACH(1)
    EACH(2)
    EACH(3)
    EACH(4)
    EACH(5)
    FINISH
    .balign 4
do_lr: lr.d a0, (a1); ecall
do_amo: amoswap.d a0, a1, (a1); ecall
do_amo_w: amomaxu.w a0, a1, (a1); ecall
do_lr_sc: lr.w a0, (a1); sc.w a0, a1, (a1); ecall
    .balign 4096
data: .zero 4096
    .section .bss
    TABLE(level0)
    TABLE(level1)
    TABLE(level2)
