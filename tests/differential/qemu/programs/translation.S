/* SPDX-License-Identifier: Apache-2.0 */
/* The page walk in Sv39, Sv48 and Sv57 (LEVELS 3, 4, 5): leaves at every level, and every malformed entry. */
#include "framework.h"
#if LEVELS == 3
#define MODE SV39
#define TOP level2
#elif LEVELS == 4
#define MODE SV48
#define TOP level3
#else
#define MODE SV57
#define TOP level4
#endif
/* Loads and stores in S-mode at a virtual address. */
#define LOAD_AT(address) li a1, address; GO(MODE_S, do_load); RECORD(a0)
#define STORE_AT(address) li a1, address; GO(MODE_S, do_store)
#define FETCH_AT(address) li a1, address; GO_AT(MODE_S, a1)
/* 4 KiB pages from virtual WINDOW by table level0, entry n is page n. */
#define WINDOW 0x40000000
#define PAGE(n) (WINDOW + (n) * 0x1000)
main:
#if LEVELS >= 5
    LINK(level4, 0, level3)
#endif
#if LEVELS >= 4
    LINK(level3, 0, level2)
#endif
    LEAF(level2, 2, RAM, PTE_RWX)
    LINK(level2, 1, level1)
    LINK(level1, 0, level0)
    la a0, data
    li a1, 0x1122334455667788
    sd a1, 0(a0)
    /* Well-formed leaves of each permission. */
    LEAF_OF(level0, 0, data, PTE_RW)
    LEAF_OF(level0, 1, data, PTE_V | PTE_R | PTE_A | PTE_D)
    LEAF_OF(level0, 2, code, PTE_V | PTE_X | PTE_A | PTE_D)
    LEAF_OF(level0, 3, data, PTE_V | PTE_R | PTE_X | PTE_A | PTE_D)
    LEAF_OF(level0, 4, data, PTE_RWX | PTE_U)
    LEAF_OF(level0, 5, data, PTE_RWX | PTE_G)
    /* Malformed: not valid; W without R; W and X without R; a pointer at the last level. */
    LEAF_OF(level0, 6, data, PTE_RWX & ~PTE_V)
    LEAF_OF(level0, 7, data, PTE_V | PTE_W | PTE_A | PTE_D)
    LEAF_OF(level0, 8, data, PTE_V | PTE_W | PTE_X | PTE_A | PTE_D)
    LEAF_OF(level0, 9, data, PTE_V)
    /* Reserved bits, N and PBMT without their extensions. Software's bits 8, 9 are free. */
    LEAF_OF(level0, 10, data, PTE_RW | 1 << 54)
    LEAF_OF(level0, 11, data, PTE_RW | 1 << 60)
    LEAF_OF(level0, 12, data, PTE_RW | 1 << 61)
    LEAF_OF(level0, 13, data, PTE_RW | 1 << 63)
    LEAF_OF(level0, 14, data, PTE_RW | 3 << 8)
    /* Superpages: aligned, and misaligned. */
    LEAF(level1, 1, RAM, PTE_RWX)
    LEAF(level1, 2, RAM + 0x1000, PTE_RWX)
    LEAF(level2, 3, RAM, PTE_RWX)
    LEAF(level2, 4, RAM + 0x200000, PTE_RWX)
    /* Pointers with bits that pointers must not have. A table where nothing is would be an access fault, but QEMU
     * 10.0 makes it a page fault. */
    LINK(level1, 3, level0)
    la a0, level1
    ld a1, 24(a0)
    ori a2, a1, PTE_D
    sd a2, 24(a0)
    ori a2, a1, PTE_U
    sd a2, 32(a0)
    ori a2, a1, PTE_A
    sd a2, 40(a0)
    ori a2, a1, PTE_G
    sd a2, 48(a0)
    LEAF(level0, 15, NOTHING_THERE, PTE_RWX)
    SATP(MODE, TOP)
    LOAD_AT(PAGE(0))
    STORE_AT(PAGE(0) + 8)
    LOAD_AT(PAGE(0) + 8)
    LOAD_AT(PAGE(1))
    STORE_AT(PAGE(1))
    FETCH_AT(PAGE(1))
    LOAD_AT(PAGE(2))
    FETCH_AT(PAGE(2))
    LOAD_AT(PAGE(3))
    LOAD_AT(PAGE(4))
    LOAD_AT(PAGE(5))
    LOAD_AT(PAGE(6))
    STORE_AT(PAGE(6) + 0x123)
    FETCH_AT(PAGE(6) + 0x122)
    LOAD_AT(PAGE(7))
    STORE_AT(PAGE(7))
    LOAD_AT(PAGE(8))
    FETCH_AT(PAGE(8))
    LOAD_AT(PAGE(9))
    LOAD_AT(PAGE(10))
    LOAD_AT(PAGE(11))
    LOAD_AT(PAGE(12))
    LOAD_AT(PAGE(13))
    LOAD_AT(PAGE(14))
    LOAD_AT(PAGE(15))
    STORE_AT(PAGE(15))
    FETCH_AT(PAGE(15))
    LOAD_AT(WINDOW + 0x200000)
    LOAD_AT(WINDOW + 0x400000)
    STORE_AT(WINDOW + 0x400000)
    LOAD_AT(WINDOW + 0x600000)
    LOAD_AT(WINDOW + 0x800000)
    LOAD_AT(WINDOW + 0xa00000)
    LOAD_AT(WINDOW + 0xc00000)
    LOAD_AT(0xc0000000)
    LOAD_AT(0x100000000)
    LOAD_AT(0x140000000)
    /* Addresses that are not sign-extended. */
    LOAD_AT(WINDOW | 1 << 63)
    LOAD_AT(WINDOW | 1 << (9 * LEVELS + 12))
    STORE_AT(WINDOW | 1 << (9 * LEVELS + 11))
    FETCH_AT(WINDOW | 1 << (9 * LEVELS + 12))
    LOAD_AT(-0x40000000)
    LEAF(TOP, 511, 0, 0)
    LOAD_AT(-8)
    FINISH
    .balign 4
do_load: li a0, -1; ld a0, 0(a1); ecall
do_store: li a0, 0x99aabbccddeeff00; sd a0, 0(a1); ecall
    .balign 4096
code: ecall
    .balign 4096
data: .zero 4096
    .section .bss
    TABLE(level0)
    TABLE(level1)
    TABLE(level2)
    TABLE(level3)
    TABLE(level4)
