/* SPDX-License-Identifier: Apache-2.0 */
/* Vectored mtvec and stvec: interrupts jump to base + 4 * cause, exceptions to base. */
#include "framework.h"
main:
    la a0, m_vector
    addi a0, a0, 1
    csrw mtvec, a0
    csrr a1, mtvec
    sub a1, a1, a0
    RECORD(a1)
    li a5, 100
    TRY(ecall)
    RECORD(a5)
    WRITE(mie, SSI)
    csrwi mip, SSI
    li a5, 100
    GO(MODE_U, spin)
    RECORD(a5)
    WRITE(mie, STI)
    SET(mip, STI)
    li a5, 100
    GO(MODE_U, spin)
    RECORD(a5)
    csrw mip, zero
    la a0, s_vector
    addi a0, a0, 1
    csrw stvec, a0
    li a0, 1 << 8
    csrw medeleg, a0
    WRITE(mideleg, SSI | STI | SEI)
    li a5, 100
    GO(MODE_U, do_ecall)
    RECORD(a5)
    WRITE(mie, SEI)
    SET(mip, SEI)
    li a5, 100
    GO(MODE_U, spin)
    RECORD(a5)
    csrw mip, zero
    FINISH
    .balign 4
do_ecall: ecall
spin: j spin
    .option push
    .option norvc
    .balign 256
m_vector:
    .rept 12
    addi a5, a5, 1 /* falls through: the count tells where it began */
    .endr
    j m_trap
    .balign 256
s_vector:
    .rept 12
    addi a5, a5, 1
    .endr
    j s_trap
    .option pop
