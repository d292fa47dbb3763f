/* SPDX-License-Identifier: Apache-2.0 */
/* Load-reserved, store-conditional: success, and the failures that are certain. */
#include "framework.h"
#define RESULT RECORD(a3); ld a4, 0(a0); RECORD(a4)
main:
    la a0, data
    li a1, 0x1111111122222222
    li a2, 0x3333333344444444
    sd a1, 0(a0)
    lr.d a3, (a0)
    RECORD(a3)
    sc.d a3, a2, (a0)
    RESULT
    /* A second sc fails. */
    sc.d a3, a1, (a0)
    snez a3, a3
    RESULT
    /* lr.w sign-extends; sc.w stores 4 bytes. */
    li a2, 0x8877665544332211
    sd a2, 0(a0)
    addi a5, a0, 4
    lr.w a3, (a5)
    RECORD(a3)
    sc.w a3, a1, (a5)
    RESULT
    /* Another address. */
    lr.d a3, (a0)
    addi a5, a0, 2040
    sc.d a3, a2, (a5)
    snez a3, a3
    RESULT
    ld a4, 0(a5)
    RECORD(a4)
    /* Its own failed sc drops the reservation. */
    sc.d a3, a2, (a0)
    snez a3, a3
    RESULT
    /* rd = x0, rd = rs2, aq and rl. */
    lr.d.aqrl a3, (a0)
    sc.d.rl x0, a2, (a0)
    RESULT
    lr.w.aq a3, (a0)
    mv a3, a1
    sc.w.aqrl a3, a3, (a0)
    RESULT
    /* The usual loop. */
    li a5, 1000
1:  lr.d a3, (a0)
    add a3, a3, a5
    sc.d a4, a3, (a0)
    bnez a4, 1b
    addi a5, a5, -1
    bnez a5, 1b
    RESULT
    FINISH
    .balign 4096
data: .zero 4096
