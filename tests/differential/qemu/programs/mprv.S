/* SPDX-License-Identifier: Apache-2.0 */
/* MPRV: M-mode loads and stores with the translation and protection of the mode in MPP. */
#include "framework.h"
#define PAGE(n) (0x40000000 + (n) * 0x1000)
#define AS(mode) CLEAR(mstatus, MSTATUS_MPP); SET(mstatus, (mode) << 11 | MSTATUS_MPRV)
#define PLAIN CLEAR(mstatus, MSTATUS_MPRV)
/* The trap handler clears MPRV; values are recorded after PLAIN, for the signature is not mapped for U. */
#define LOAD(mode, page) li a0, 0; li a1, PAGE(page); AS(mode); TRY(ld a0, 0(a1)); PLAIN; RECORD(a0)
#define STORE(mode, page) li a1, PAGE(page); AS(mode); TRY(sd a1, 8(a1)); PLAIN
main:
    LEAF(level2, 2, RAM, PTE_RWX)
    LINK(level2, 1, level1)
    LINK(level1, 0, level0)
    LEAF_OF(level0, 0, data, PTE_RWX | PTE_U)
    LEAF_OF(level0, 1, data, PTE_RWX)
    LEAF_OF(level0, 2, data, PTE_V | PTE_X | PTE_A | PTE_U)
    SATP(SV39, level2)
    jal test
    SET(mstatus, MSTATUS_SUM)
    jal test
    SET(mstatus, MSTATUS_MXR)
    jal test
    /* Fetches are not translated: the code above went on. MPP = M means no effect. */
    li a1, NOTHING_THERE
    AS(MODE_M)
    TRY(ld a0, 0(a1))
    PLAIN
    csrw satp, zero
    la a1, data
    AS(MODE_U)
    TRY(ld a0, 0(a1))
    PLAIN
    RECORD(a0)
    FINISH
test:
    LOAD(MODE_S, 0)
    LOAD(MODE_U, 0)
    LOAD(MODE_S, 1)
    LOAD(MODE_U, 1)
    LOAD(MODE_S, 2)
    LOAD(MODE_U, 2)
    STORE(MODE_S, 0)
    STORE(MODE_U, 0)
    STORE(MODE_S, 1)
    STORE(MODE_U, 1)
    STORE(MODE_U, 2)
    LOAD(MODE_S, 3)
    ret
    .balign 4096
data: .dword 0x0123456789abcdef
    .zero 4088
    .section .bss
    TABLE(level0)
    TABLE(level1)
    TABLE(level2)
