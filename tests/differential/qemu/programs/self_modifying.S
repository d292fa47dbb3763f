/* SPDX-License-Identifier: Apache-2.0 */
/* Code that changes code, always followed by fence.i: where it lies, how it is written, what it becomes. */
#include "framework.h"
#define ADDI_A0(n) (0x00000513 | (n) << 20) /* addi a0, zero, n */
#define ADD_A0(n) (0x00050513 | (n) << 20) /* addi a0, a0, n */
#define C_ADD_A0(n) (0x0505 | ((n) - 1) << 2) /* c.addi a0, n; n from 1 to 4 */
#define RET 0x8082
#define CALL(label) la t0, label; jalr t0; RECORD(a0)
/* Put a value to a label plus offset by any store instruction, then fence. */
#define PATCH(store, label, offset, value) la a1, label; li a2, value; store a2, offset(a1); fence.i
    .option norvc
main:
    SET(mstatus, MSTATUS_FS)
    WRITE(menvcfg, 0xf0)
    /* A function, changed between calls: the whole instruction, its half, one byte; not yet run, and run. */
    PATCH(sw, function, 0, ADDI_A0(1))
    CALL(function)
    PATCH(sw, function, 0, ADDI_A0(2))
    CALL(function)
    PATCH(sh, function, 2, 0x7f0)
    CALL(function)
    PATCH(sb, function, 3, 0x12)
    CALL(function)
    PATCH(sd, function, 0, ADDI_A0(3) | ADD_A0(4) << 32)
    CALL(function)
    /* By an amo, sc, fsd, a misaligned store. */
    la a1, function
    li a2, ADDI_A0(5)
    amoswap.w x0, a2, (a1)
    fence.i
    CALL(function)
    la a1, function
    li a2, ADDI_A0(6)
    lr.w a3, (a1)
    sc.w a3, a2, (a1)
    fence.i
    CALL(function)
    la a1, function
    li a2, ADDI_A0(7) | ADD_A0(8) << 32
    fmv.d.x f0, a2
    fsd f0, 0(a1)
    fence.i
    CALL(function)
    PATCH(sw, function, 2, 0x09 << 4 | 0x0513 << 16)
    CALL(function)
    /* In a loop: each round runs what the round before has written. */
    li s0, 0
    li s1, 50
    la s2, function
    li s3, ADDI_A0(0)
    li s4, 1 << 20
1:  sw s3, 0(s2)
    fence.i
    jalr s2
    add s0, s0, a0
    add s3, s3, s4
    addi s1, s1, -1
    bnez s1, 1b
    RECORD(s0)
    /* The running block: the next instruction, one farther on, one before the store. */
    li a0, 0
    PATCH(sw, 1f, 0, ADD_A0(42))
1:  addi a0, a0, 1
    RECORD(a0)
    li a0, 0
    li s1, 3
2:  addi a0, a0, 1
    PATCH(sw, 2b, 0, ADD_A0(100))
    PATCH(sw, 3f, 0, ADD_A0(1000))
    nop
    nop
3:  addi a0, a0, 2
    addi s1, s1, -1
    bnez s1, 2b
    RECORD(a0)
    /* A hot loop, changed half-way. */
    li s0, 0
    li s1, 2000
    li a3, 1000
    la a1, 3f
    li a2, 0x00340413 /* addi s0, s0, 3 */
3:  addi s0, s0, 1
    addi s1, s1, -1
    bne s1, a3, 4f
    sw a2, 0(a1)
    fence.i
4:  bnez s1, 3b
    RECORD(s0)
    /* A branch that changes its way, and a jump. */
    la a1, 5f
    lw a2, 0(a1)
    li a3, 1 << 12 /* beq to bne */
    xor a2, a2, a3
    sw a2, 0(a1)
    fence.i
    li a0, 1
5:  beq zero, zero, 6f
    addi a0, a0, 1
6:  RECORD(a0)
    PATCH(sw, 7f, 0, 0x0080006f) /* j to behind the next */
    li a0, 1
7:  nop
    addi a0, a0, 2
    RECORD(a0)
    /* Two instructions of 2 bytes become one of 4, and back; one becomes illegal, and legal again. */
    CALL(short_function)
    PATCH(sw, short_function, 4, ADD_A0(77))
    CALL(short_function)
    PATCH(sw, short_function, 4, C_ADD_A0(1) | C_ADD_A0(4) << 16)
    CALL(short_function)
    /* One of 4 bytes, of which the second half is one of 2 as well, is entered at both. */
    PATCH(sw, short_function, 4, ADD_A0(0) | C_ADD_A0(3) << 16)
    CALL(short_function)
    la t0, short_function + 6
    li a0, 0
    jalr t0
    RECORD(a0)
    PATCH(sh, short_function, 6, C_ADD_A0(4))
    CALL(short_function)
    la t0, short_function + 6
    li a0, 0
    jalr t0
    RECORD(a0)
    PATCH(sh, short_function, 4, 0)
    TRY(la t0, short_function; jalr t0)
    PATCH(sh, short_function, 4, C_ADD_A0(2))
    CALL(short_function)
    /* The next page, from the end of this one; and this one, from the next. */
    CALL(next_page)
    PATCH(sw, next_page, 0, ADDI_A0(21))
    CALL(next_page)
    CALL(writes_next)
    CALL(writes_next)
    CALL(writes_previous)
    CALL(writes_previous)
    /* An instruction across the pages' border: each half, both at once, by a store across the border. */
    CALL(crossing)
    PATCH(sh, crossing, 2, 0x210)
    CALL(crossing)
    PATCH(sh, crossing, 0, 0x0593) /* addi a1: a0 stays */
    li a0, 99
    CALL(crossing)
    PATCH(sw, crossing, 0, ADDI_A0(22))
    CALL(crossing)
    PATCH(sd, crossing, -2, 0x0001 | ADDI_A0(23) << 16 | 0x0505 << 48)
    CALL(crossing)
    /* Code cleared by cbo.zero. */
    la a1, cleared
    TRY(.insn i 0x0f, 2, x0, a1, 4; fence.i; jalr a1)
    PATCH(sw, cleared, 0, ADDI_A0(24))
    PATCH(sw, cleared, 4, RET)
    CALL(cleared)
    /* Run at one virtual address, written at another: by M-mode without translation, by S-mode, by U-mode. */
    VM_BASIC(table)
    PATCH(sw, user_function, 0, ADDI_A0(31))
    GO_USER(user_function)
    RECORD(a0)
    PATCH(sw, user_function, 0, ADDI_A0(32))
    GO_USER(user_function)
    RECORD(a0)
    la a1, user_function
    li a2, ADDI_A0(33)
    GO(MODE_S, writer)
    GO_USER(user_function)
    RECORD(a0)
    li s9, RAM - USER_ALIAS
    sub a1, a1, s9
    li a2, ADDI_A0(34)
    GO_USER(writer_and_jump)
    RECORD(a0)
    GO(MODE_S, user_function)
    RECORD(a0)
    /* Another page comes under the same virtual address. */
    LINK(table, 0, level1)
    LINK(level1, 0, level0)
    LEAF_OF(level0, 1, user_function, PTE_RWX)
    sfence.vma
    li a1, 0x1000
    GO_AT(MODE_S, a1)
    RECORD(a0)
    LEAF_OF(level0, 1, other_function, PTE_RWX)
    sfence.vma
    GO_AT(MODE_S, a1)
    RECORD(a0)
    PATCH(sw, other_function, 0, ADDI_A0(36))
    li a1, 0x1000
    GO_AT(MODE_S, a1)
    RECORD(a0)
    FINISH
    .balign 8
function: addi a0, zero, 0
    nop
    ret
    .option rvc
    .balign 8
short_function: .word ADDI_A0(1)
    .half C_ADD_A0(1), C_ADD_A0(2), RET
    .option norvc
    .balign 4
writer: sw a2, 0(a1)
    fence.i
    ecall
writer_and_jump: sw a2, 0(a1)
    fence.i
    jr a1
    .balign 4096
previous_page: addi a0, zero, 10
    ret
    .space 4096 - 8 - 28 - 2
writes_next: /* ends with its page; what follows is changed just before it runs */
    la a1, next_page
    lw a2, 0(a1)
    lui a3, 0x100
    add a2, a2, a3
    sw a2, 0(a1)
    fence.i
    .option rvc
    c.nop
    .option norvc
    .balign 4096
next_page: addi a0, zero, 20
    ret
writes_previous:
    la a1, previous_page
    lw a2, 0(a1)
    lui a3, 0x100
    add a2, a2, a3
    sw a2, 0(a1)
    fence.i
    la a1, previous_page
    jr a1
    .balign 4096
    .space 4092
    .half 0x0001
crossing: .half 0x0513, 0x0160 /* addi a0, zero, 22 */
    .half 0x0001, RET
    .balign 4096
cleared: addi a0, zero, 1
    ret
    .balign 4096
user_function: addi a0, zero, 0
    ecall
    .balign 4096
other_function: addi a0, zero, 35
    ecall
    .balign 4096
    .section .bss
    TABLE(table)
    TABLE(level0)
    TABLE(level1)
