/* SPDX-License-Identifier: Apache-2.0 */
/* An instruction across two pages: its second half faults with its own address, epc with the first's. */
#include "framework.h"
#define PAGE(n) (0x40000000 + (n) * 0x1000)
#define AT(address) li a1, address; li a0, 0; GO_AT(MODE_S, a1); RECORD(a0)
main:
    LEAF(level2, 2, RAM, PTE_RWX)
    LINK(level2, 1, level1)
    LINK(level1, 0, level0)
    LEAF_OF(level0, 0, first, PTE_RWX)
    LEAF_OF(level0, 1, second, PTE_RWX)
    LEAF_OF(level0, 2, first, PTE_RWX)
    LEAF_OF(level0, 4, first, PTE_RWX)
    LEAF_OF(level0, 5, second, PTE_RW)
    LEAF_OF(level0, 6, first, PTE_RWX)
    LEAF(level0, 7, NOTHING_THERE, PTE_RWX)
    LEAF_OF(level0, 8, first, PTE_RWX)
    LEAF_OF(level0, 9, other, PTE_RWX)
    SATP(SV39, level2)
    AT(PAGE(1) - 2)
    AT(PAGE(1) - 6)
    AT(PAGE(3) - 2)
    AT(PAGE(3) - 6)
    AT(PAGE(5) - 2)
    AT(PAGE(7) - 2)
    AT(PAGE(9) - 2)
    AT(PAGE(1) - 2)
    FINISH
    .section .data
    .balign 4096
    /* Not contiguous: `between` lies behind `first` physically. */
first:
    .zero 4090
    .option push
    .option norvc
    addi a0, a0, 1
    .half 0x0513 /* low half of: addi a0, a0, imm */
between: .half 0xffff
    .balign 4096
second:
    .half 0x0ff5 /* high half: imm 255 */
    ecall
    .balign 4096
other:
    .half 0x0015 /* imm 1 */
    ecall
    .option pop
    .balign 4096
    .section .bss
    TABLE(level0)
    TABLE(level1)
    TABLE(level2)
