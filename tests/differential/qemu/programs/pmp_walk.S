/* SPDX-License-Identifier: Apache-2.0 */
/* PMP against the page walk: a table, and a leaf's page, out of the supervisor's reach. */
#include "framework.h"
#define NAPOT_NONE 0x18
#define PAGE(n) (0x40000000 + (n) * 0x1000)
#define CLOSE(label) la s9, label; srli s9, s9, 2; ori s9, s9, 0x1ff; csrw pmpaddr0, s9; sfence.vma
#define USE li a1, PAGE(0); GO(MODE_S, do_load); GO(MODE_S, do_store); GO_AT(MODE_S, a1)
main:
    li s0, -1
    csrw pmpaddr1, s0
    WRITE(pmpcfg0, 0x1f00 | NAPOT_NONE)
    LEAF(level2, 2, RAM, PTE_RWX)
    LINK(level2, 1, level1)
    LINK(level1, 0, level0)
    LEAF_OF(level0, 0, data, PTE_RWX)
    SATP(SV39, level2)
    CLOSE(unused)
    USE
    CLOSE(level0)
    USE
    CLOSE(level1)
    USE
    CLOSE(data)
    USE
    /* Readable only: the walk works, setting A and D does not. */
    WRITE(pmpcfg0, 0x1f00 | NAPOT_NONE | 1)
    CLOSE(level0)
    USE
    FINISH
    .balign 4
do_load: ld a0, 0(a1); ecall
do_store: sd a0, 8(a1); ecall
    .balign 4096
data: ecall
    .zero 4092
unused: .zero 4096
    .section .bss
    TABLE(level0)
    TABLE(level1)
    TABLE(level2)
