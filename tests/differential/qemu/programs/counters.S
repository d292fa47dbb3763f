/* SPDX-License-Identifier: Apache-2.0 */
/* Counters: who may read them, inhibition, writes, that they advance. Never their values. */
#include "framework.h"
#define ADVANCES(csr) csrr a0, csr; 98: csrr a1, csr; beq a0, a1, 98b; sltu a0, a0, a1; RECORD(a0)
#define READ_ALL(mode) \
    GO(mode, read_cycle); GO(mode, read_time); GO(mode, read_instret); GO(mode, read_counter3)
main:
    ADVANCES(mcycle)
    ADVANCES(minstret)
    ADVANCES(cycle)
    ADVANCES(instret)
    ADVANCES(time)
    csrw mcounteren, zero
    csrw scounteren, zero
    READ_ALL(MODE_S)
    READ_ALL(MODE_U)
    WRITE(mcounteren, 7)
    READ_ALL(MODE_S)
    READ_ALL(MODE_U)
    WRITE(scounteren, 2)
    READ_ALL(MODE_U)
    WRITE(scounteren, 7)
    READ_ALL(MODE_U)
    WRITE(mcounteren, 5)
    READ_ALL(MODE_S)
    READ_ALL(MODE_U)
    /* Read-only views. */
    TRY(csrw cycle, zero)
    TRY(csrw time, zero)
    TRY(csrw instret, zero)
    GO(MODE_S, write_mcycle)
    /* Inhibited counters stand still and keep what is written. */
    WRITE(mcountinhibit, 5)
    PROBE(mcycle, 0x123456789)
    PROBE(minstret, 0xfedcba9876543210)
    csrr a0, cycle
    RECORD(a0)
    csrr a0, instret
    RECORD(a0)
    csrw mcountinhibit, zero
    ADVANCES(mcycle)
    ADVANCES(minstret)
    csrr a0, minstret
    srli a0, a0, 32
    RECORD(a0)
    /* time is mtime. */
    li a1, CLINT_MTIME
    csrr a0, time
    ld a2, 0(a1)
    csrr a3, time
    sltu a0, a2, a0
    RECORD(a0)
    sltu a3, a3, a2
    RECORD(a3)
    FINISH
    .balign 4
read_cycle: csrr x0, cycle; ecall
read_time: csrr x0, time; ecall
read_instret: csrr x0, instret; ecall
read_counter3: ecall
write_mcycle: csrw mcycle, zero; ecall
