/* SPDX-License-Identifier: Apache-2.0 */
/* The NS16550A's registers, through its loop-back. */
#include "framework.h"
#define PUT(register, value) li a0, value; sb a0, register(a1)
#define GET(register) lbu a0, register(a1); RECORD(a0)
#define GET_LINES lbu a0, 6(a1); andi a0, a0, 0xf0; RECORD(a0)
main:
    li a1, UART
    GET(1)
    GET(3)
    GET(5)
    /* Scratch; divisor behind DLAB. */
    PUT(7, 0xa5)
    GET(7)
    PUT(3, 0x83)
    PUT(0, 0x34)
    PUT(1, 0x12)
    GET(0)
    GET(1)
    GET(3)
    PUT(3, 0x03)
    GET(1)
    PUT(1, 0xff)
    GET(1)
    PUT(1, 0)
    /* Interrupt identification with the FIFOs on and off. */
    PUT(2, 0)
    GET(2)
    PUT(2, 1)
    GET(2)
    PUT(2, 0)
    /* Loop-back of modem control lines; without the bits that say what has changed, which QEMU 10.0 leaves 0. */
    PUT(4, 0x1f)
    GET(4)
    GET_LINES
    PUT(4, 0x10)
    GET_LINES
    PUT(4, 0x15)
    GET_LINES
    PUT(4, 0)
    FINISH
