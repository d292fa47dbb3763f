/* SPDX-License-Identifier: Apache-2.0 */
/* The A and D bits: Svade faults (ADUE 0), Svadu sets them (ADUE 1). */
#include "framework.h"
#define WINDOW 0x40000000
#define PAGE(n) (WINDOW + (n) * 0x1000)
#define RECORD_PTE(n) la a2, level0; ld a2, (n) * 8(a2); andi a2, a2, 0xff; RECORD(a2)
#define TOUCH(n, how) li a1, PAGE(n); GO(MODE_S, how); RECORD_PTE(n)
#define FILL \
    LEAF_OF(level0, 0, data, PTE_V | PTE_R | PTE_W); LEAF_OF(level0, 1, data, PTE_V | PTE_R | PTE_W | PTE_A); \
    LEAF_OF(level0, 2, code, PTE_V | PTE_X); LEAF_OF(level0, 3, data, PTE_V | PTE_R); \
    LEAF_OF(level0, 4, data, PTE_V | PTE_R | PTE_W | PTE_D); LEAF_OF(level0, 5, data, PTE_V | PTE_R | PTE_W); \
    LEAF_OF(level0, 6, data, PTE_V | PTE_R | PTE_W); sfence.vma
main:
    LEAF(level2, 2, RAM, PTE_RWX)
    LINK(level2, 1, level1)
    LINK(level1, 0, level0)
    SATP(SV39, level2)
    CLEAR(menvcfg, MENVCFG_ADUE)
    FILL
    jal test
    SET(menvcfg, MENVCFG_ADUE)
    FILL
    jal test
    /* A superpage. */
    LEAF(level1, 1, RAM, PTE_V | PTE_R | PTE_W)
    sfence.vma
    li a1, WINDOW + 0x200000 + 0x100000
    GO(MODE_S, do_store)
    la a2, level1
    ld a2, 8(a2)
    andi a2, a2, 0xff
    RECORD(a2)
    FINISH
test:
    TOUCH(0, do_load)
    TOUCH(0, do_store)
    TOUCH(1, do_load)
    TOUCH(1, do_store)
    TOUCH(3, do_load)
    TOUCH(3, do_store)
    TOUCH(4, do_load)
    TOUCH(4, do_store)
    TOUCH(5, do_store)
    TOUCH(6, do_amo)
    li a1, PAGE(2)
    GO_AT(MODE_S, a1)
    RECORD_PTE(2)
    ret
    .balign 4
do_load: ld a0, 0(a1); ecall
do_store: sd zero, 0(a1); ecall
do_amo: amoadd.d a0, zero, (a1); ecall
    .balign 4096
code: ecall
    .balign 4096
data: .zero 4096
    .section .bss
    TABLE(level0)
    TABLE(level1)
    TABLE(level2)
