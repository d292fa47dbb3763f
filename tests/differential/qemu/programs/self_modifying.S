/* SPDX-License-Identifier: Apache-2.0 */
/* Code that changes code, seen after fence.i: called code, its own loop, another mapping of its page. */
#include "framework.h"
#define USER(label) la a1, label; li s9, RAM - USER_ALIAS; sub a1, a1, s9
main:
    /* A function patched between calls. */
    li s0, 0
    li s1, 10
    la a1, function
    li a2, 0x00000513 /* addi a0, zero, 0 */
1:  sw a2, 0(a1)
    fence.i
    jal function
    add s0, s0, a0
    li a3, 1 << 20
    add a2, a2, a3
    addi s1, s1, -1
    bnez s1, 1b
    RECORD(s0)
    /* Half an instruction. */
    li a3, 0x07f0
    sh a3, 2(a1)
    fence.i
    jal function
    RECORD(a0)
    /* Inside the running block: the next instruction. */
    la a1, 2f
    li a2, 0x02a00513 /* addi a0, zero, 42 */
    sw a2, 0(a1)
    fence.i
    .option push
    .option norvc
2:  addi a0, zero, 1
    .option pop
    RECORD(a0)
    /* A hot loop that is patched half-way. */
    li s0, 0
    li s1, 2000
    la a1, 3f
    li a2, 0x00340413 /* addi s0, s0, 3 */
    li a3, 1000
    .option push
    .option norvc
3:  addi s0, s0, 1
    .option pop
    addi s1, s1, -1
    bne s1, a3, 4f
    sw a2, 0(a1)
    fence.i
4:  bnez s1, 3b
    RECORD(s0)
    /* By an amo, and by sc. */
    la a1, function
    li a2, 0x00500513
    amoswap.w x0, a2, (a1)
    fence.i
    jal function
    RECORD(a0)
    li a2, 0x00600513
    lr.w a3, (a1)
    sc.w a3, a2, (a1)
    fence.i
    jal function
    RECORD(a0)
    /* Run at one address, written at another. */
    VM_BASIC(table)
    li a2, 0x00700513
    la a1, user_function
    sw a2, 0(a1)
    fence.i
    GO_USER(user_function)
    RECORD(a0)
    li a2, 0x00800513
    la a1, user_function
    sw a2, 0(a1)
    fence.i
    GO_USER(user_function)
    RECORD(a0)
    /* Written and fenced by user code itself. */
    li a2, 0x00900513
    USER(user_function)
    GO_USER(user_writer)
    RECORD(a0)
    FINISH
    .option push
    .option norvc
    .balign 4
function: addi a0, zero, 0
    ret
user_writer: sw a2, 0(a1)
    fence.i
    jr a1
    .balign 4096
user_function: addi a0, zero, 0
    ecall
    .balign 4096
    .option pop
    .section .bss
    TABLE(table)
