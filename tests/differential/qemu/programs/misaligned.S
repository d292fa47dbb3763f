/* SPDX-License-Identifier: Apache-2.0 */
/* Misaligned data accesses inside a page, and across pages that are neighbours only virtually. */
#include "framework.h"
#define PAGE(n) (0x40000000 + (n) * 0x1000)
#define CROSS(last, how) li a1, PAGE(last + 1); li a0, 0x1122334455667788; GO(MODE_S, how); RECORD(a0)
#define CROSS_ALL(page) \
    CROSS(page, load_half); CROSS(page, load_word); CROSS(page, load_double); CROSS(page, load_float); \
    CROSS(page, store_half); CROSS(page, store_word); CROSS(page, store_double); CROSS(page, store_float); \
    jal record_pages
main:
    SET(mstatus, MSTATUS_FS)
    la a1, first
    li a2, 64
    la a3, second
1:  sb a2, 0(a1)
    addi a2, a2, 3
    addi a1, a1, 1
    bltu a1, a3, 1b
    la a1, first
    li a0, 0
    TRY(lh a0, 1(a1))
    RECORD(a0)
    TRY(lhu a0, 3(a1))
    RECORD(a0)
    TRY(lw a0, 1(a1))
    RECORD(a0)
    TRY(lwu a0, 62(a1))
    RECORD(a0)
    TRY(ld a0, 3(a1))
    RECORD(a0)
    TRY(sd a0, 57(a1))
    TRY(sw a0, 77(a1))
    TRY(sh a0, 83(a1))
    ld a0, 56(a1)
    RECORD(a0)
    ld a0, 72(a1)
    RECORD(a0)
    ld a0, 80(a1)
    RECORD(a0)
    LEAF(level2, 2, RAM, PTE_RWX)
    LINK(level2, 1, level1)
    LINK(level1, 0, level0)
    LEAF_OF(level0, 0, second, PTE_RW)
    LEAF_OF(level0, 1, first, PTE_RW)
    LEAF_OF(level0, 3, first, PTE_V | PTE_R | PTE_A)
    LEAF_OF(level0, 4, second, PTE_RW)
    LEAF(level0, 5, NOTHING_THERE, PTE_RW)
    LEAF_OF(level0, 6, first, PTE_RW)
    LEAF_OF(level0, 7, second, PTE_V | PTE_R | PTE_A)
    SATP(SV39, level2)
    CROSS_ALL(0)
    CROSS_ALL(1)
    CROSS_ALL(2)
    CROSS_ALL(3)
    CROSS_ALL(4)
    CROSS_ALL(6)
    FINISH
record_pages:
    la a1, first
    ld a0, 0(a1)
    RECORD(a0)
    la a1, second
    ld a0, 0(a1)
    RECORD(a0)
    ld a0, -8(a1)
    RECORD(a0)
    la a1, level0
    ld a0, -8(a1)
    RECORD(a0)
    ret
    .balign 4
load_half: lh a0, -1(a1); ecall
load_word: lwu a0, -2(a1); ecall
load_double: ld a0, -3(a1); ecall
load_float: fld f0, -5(a1); fmv.x.d a0, f0; ecall
store_half: sh a0, -1(a1); ecall
store_word: sw a0, -3(a1); ecall
store_double: sd a0, -7(a1); ecall
store_float: fmv.d.x f0, a0; fsd f0, -4(a1); ecall
    .section .bss
    TABLE(first)
    TABLE(second)
    TABLE(level0)
    TABLE(level1)
    TABLE(level2)
