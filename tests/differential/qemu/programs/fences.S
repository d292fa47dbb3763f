/* SPDX-License-Identifier: Apache-2.0 */
/* A changed page table entry is seen after sfence.vma of every form, and after the Svinval sequence. */
#include "framework.h"
#define VIRTUAL NOTHING_THERE
#define SHOW li a1, VIRTUAL; GO(MODE_S, do_load); RECORD(a0)
#define MAP_TO(label) LEAF_OF(level0, 0, label, PTE_RW)
main:
    LEAF(level2, 2, RAM, PTE_RWX)
    LINK(level2, 0, level1)
    LINK(level1, 1, level0)
    MAP_TO(one)
    SATP(SV39, level2)
    SHOW
    MAP_TO(two)
    sfence.vma
    SHOW
    MAP_TO(one)
    li a1, VIRTUAL
    sfence.vma a1
    SHOW
    MAP_TO(two)
    li a1, 0
    sfence.vma zero, a1
    SHOW
    MAP_TO(one)
    li a1, VIRTUAL
    li a2, 0
    sfence.vma a1, a2
    SHOW
    /* Svinval: sfence.w.inval, sinval.vma, sfence.inval.ir, also in S-mode; not in U-mode. */
    MAP_TO(two)
    .word 0x18000073
    .insn r 0x73, 0, 0x0b, x0, a1, x0
    .word 0x18100073
    SHOW
    MAP_TO(one)
    GO(MODE_S, do_svinval)
    SHOW
    GO(MODE_U, do_bare)
    LEAF(level2, 3, RAM, PTE_RWX | PTE_U)
    sfence.vma
    /* Not sfence.w.inval and sfence.inval.ir, which QEMU 10.0 allows in U-mode, against Svinval. */
    li a2, 0x40000000
    la a1, do_sinval
    add a1, a1, a2
    GO_AT(MODE_U, a1)
    /* Taking a mapping away, and a permission; unmapping by a higher level. */
    MAP_TO(one)
    sfence.vma
    SHOW
    PTE(level0, 0, 0)
    sfence.vma
    SHOW
    MAP_TO(two)
    sfence.vma
    SHOW
    PTE(level1, 1, 0)
    sfence.vma
    SHOW
    LEAF(level1, 1, RAM + 0x200000, PTE_RW)
    li a2, RAM + 0x200000
    li a3, 3333
    sd a3, 0(a2)
    sfence.vma
    SHOW
    /* Two address spaces by ASID, changed without a fence. */
    LINK(level1, 1, level0)
    LEAF(other2, 2, RAM, PTE_RWX)
    LINK(other2, 0, other1)
    LINK(other1, 1, other0)
    LEAF_OF(other0, 0, two, PTE_RW)
    MAP_TO(one)
    sfence.vma
    la s2, level2
    srli s2, s2, 12
    li a2, 8 << 60 | 1 << 44
    or s2, s2, a2
    la s3, other2
    srli s3, s3, 12
    li a2, 8 << 60 | 2 << 44
    or s3, s3, a2
    .rept 3
    csrw satp, s2
    SHOW
    csrw satp, s3
    SHOW
    .endr
    csrw satp, zero
    GO(MODE_S, do_load)
    FINISH
    .balign 4
do_load: ld a0, 0(a1); ecall
do_svinval: .word 0x18000073; .insn r 0x73, 0, 0x0b, x0, a1, x0; .word 0x18100073; ecall
do_bare: ecall
do_sinval: .insn r 0x73, 0, 0x0b, x0, a1, x0; ecall
    .balign 4096
one: .dword 1111
    .balign 4096
two: .dword 2222
    .balign 4096
    .section .bss
    TABLE(level0)
    TABLE(level1)
    TABLE(level2)
    TABLE(other0)
    TABLE(other1)
    TABLE(other2)
