/* SPDX-License-Identifier: Apache-2.0 */
/* cbo.*: gates in menvcfg and senvcfg, faults, and what cbo.zero zeroes. */
#include "framework.h"
#define INVAL .insn i 0x0f, 2, x0, a1, 0
#define CLEAN .insn i 0x0f, 2, x0, a1, 1
#define FLUSH .insn i 0x0f, 2, x0, a1, 2
#define ZERO .insn i 0x0f, 2, x0, a1, 4
#define ALL(mode) GO(mode, do_inval); GO(mode, do_clean); GO(mode, do_flush); GO(mode, do_zero)
#define PAGE(n) (0x40000000 + (n) * 0x1000)
main:
    la a1, data
    TRY(INVAL)
    TRY(CLEAN)
    TRY(FLUSH)
    HIDE_ILLEGAL_TVAL
    csrw menvcfg, zero
    csrw senvcfg, zero
    ALL(MODE_S)
    ALL(MODE_U)
    WRITE(menvcfg, 0xf0)
    ALL(MODE_S)
    ALL(MODE_U)
    WRITE(senvcfg, 0x40)
    ALL(MODE_U)
    WRITE(senvcfg, 0xf0)
    ALL(MODE_U)
    WRITE(menvcfg, 0x50)
    ALL(MODE_S)
    ALL(MODE_U)
    WRITE(menvcfg, 0xf0)
    /* cbo.zero: the 64-byte block that contains the address. */
    la a2, data
    li a3, -1
    li a4, 32
1:  sd a3, 0(a2)
    addi a2, a2, 8
    addi a4, a4, -1
    bnez a4, 1b
    la a1, data
    addi a1, a1, 77
    TRY(ZERO)
    la a2, data
    li a4, 32
    li a5, 0
1:  ld a3, 0(a2)
    snez a3, a3
    slli a5, a5, 1
    or a5, a5, a3
    addi a2, a2, 8
    addi a4, a4, -1
    bnez a4, 1b
    RECORD(a5)
    li a1, NOTHING_THERE /* its block's first byte: QEMU 10.0 puts that into tval, not the address given */
    TRY(ZERO)
    /* Page faults are store faults. */
    LEAF(level2, 2, RAM, PTE_RWX)
    LINK(level2, 1, level1)
    LINK(level1, 0, level0)
    LEAF_OF(level0, 0, data, PTE_RW)
    LEAF_OF(level0, 1, data, PTE_V | PTE_R | PTE_A)
    SATP(SV39, level2)
    li a1, PAGE(0) + 8
    ALL(MODE_S)
    li a1, PAGE(1)
    ALL(MODE_S)
    li a1, PAGE(2)
    ALL(MODE_S)
    FINISH
    .balign 4
do_inval: INVAL; ecall
do_clean: CLEAN; ecall
do_flush: FLUSH; ecall
do_zero: ZERO; ecall
    .balign 4096
data: .zero 4096
    .section .bss
    TABLE(level0)
    TABLE(level1)
    TABLE(level2)
