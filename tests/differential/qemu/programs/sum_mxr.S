/* SPDX-License-Identifier: Apache-2.0 */
/* Supervisor access to user pages (SUM), loads from executable pages (MXR), user access to supervisor pages. */
#include "framework.h"
#define PAGE(n) (0x40000000 + (n) * 0x1000)
#define ALL(page) \
    li a1, PAGE(page); GO(MODE_S, do_load); GO(MODE_S, do_store); GO_AT(MODE_S, a1); \
    GO_AT(MODE_U, a1); li a2, PAGE(4); GO_AT(MODE_U, a2); addi a2, a2, 8; GO_AT(MODE_U, a2)
main:
    LEAF(level2, 2, RAM, PTE_RWX)
    LINK(level2, 1, level1)
    LINK(level1, 0, level0)
    LEAF_OF(level0, 0, code, PTE_RWX | PTE_U)
    LEAF_OF(level0, 1, code, PTE_RWX)
    LEAF_OF(level0, 2, code, PTE_V | PTE_X | PTE_A | PTE_U)
    LEAF_OF(level0, 3, code, PTE_V | PTE_X | PTE_A)
    LEAF_OF(level0, 4, user_code, PTE_V | PTE_X | PTE_A | PTE_U)
    SATP(SV39, level2)
    jal test
    SET(mstatus, MSTATUS_SUM)
    jal test
    SET(mstatus, MSTATUS_MXR)
    jal test
    CLEAR(mstatus, MSTATUS_SUM)
    jal test
    FINISH
test:
    ALL(0)
    ALL(1)
    ALL(2)
    ALL(3)
    ret
    .balign 4
do_load: ld a0, 0(a1); ecall
do_store: sd a0, 256(a1); ecall
    .balign 4096
code: ecall
    .balign 4096
user_code:
    .option push
    .option norvc
    ld a0, 0(a1)
    ecall
    sd a0, 256(a1)
    ecall
    .option pop
    .section .bss
    TABLE(level0)
    TABLE(level1)
    TABLE(level2)
