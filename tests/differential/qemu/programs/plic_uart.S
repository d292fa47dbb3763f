/* SPDX-License-Identifier: Apache-2.0 */
/* The PLIC with the UART's transmitter-empty interrupt: enable, threshold, priority, claim, completion. */
#include "framework.h"
#define UART_SOURCE 10
#define PRIORITY (PLIC + 4 * UART_SOURCE)
#define PENDING (PLIC + 0x1000)
#define ENABLE_M (PLIC + 0x2000)
#define ENABLE_S (PLIC + 0x2080)
#define THRESHOLD_M (PLIC + 0x200000)
#define CLAIM_M (PLIC + 0x200004)
#define THRESHOLD_S (PLIC + 0x201000)
#define CLAIM_S (PLIC + 0x201004)
#define POKE(address, value) li a1, address; li a0, value; sw a0, 0(a1)
#define PEEK(address) li a1, address; lw a0, 0(a1); RECORD(a0)
#define RECORD_LINES csrr a0, mip; li a1, MEI | SEI; and a0, a0, a1; RECORD(a0)
#define UART_IER(value) li a1, UART; li a0, value; sb a0, 1(a1)
main:
    PEEK(PRIORITY)
    POKE(PRIORITY, 3)
    PEEK(PRIORITY)
    POKE(ENABLE_M, 1 << UART_SOURCE)
    PEEK(ENABLE_M)
    POKE(THRESHOLD_M, 0)
    RECORD_LINES
    PEEK(CLAIM_M)
    UART_IER(2)
    PEEK(PENDING)
    RECORD_LINES
    /* The threshold masks. */
    POKE(THRESHOLD_M, 3)
    RECORD_LINES
    POKE(THRESHOLD_M, 2)
    RECORD_LINES
    /* The interrupt, then claim: not pending any more while it is being served. */
    WRITE(mie, MEI)
    GO(MODE_U, spin)
    PEEK(CLAIM_M)
    RECORD_LINES
    PEEK(CLAIM_M)
    PEEK(PENDING)
    /* Completed with the line still up: pending again, and claimed again. It is not recorded, because QEMU 10.0
     * only looks at changes of the line. Reading IIR lowers it. */
    POKE(CLAIM_M, UART_SOURCE)
    li a1, CLAIM_M
    lw a0, 0(a1)
    li a1, UART
    lbu a0, 2(a1)
    RECORD(a0)
    POKE(CLAIM_M, UART_SOURCE)
    RECORD_LINES
    PEEK(PENDING)
    /* The same for S-mode. */
    POKE(ENABLE_M, 0)
    POKE(ENABLE_S, 1 << UART_SOURCE)
    POKE(THRESHOLD_S, 0)
    UART_IER(0)
    UART_IER(2)
    RECORD_LINES
    WRITE(mideleg, SEI)
    WRITE(mie, SEI)
    GO(MODE_U, spin)
    PEEK(CLAIM_S)
    UART_IER(0)
    POKE(CLAIM_S, UART_SOURCE)
    RECORD_LINES
    /* Priority 0 never interrupts. */
    POKE(PRIORITY, 0)
    UART_IER(2)
    RECORD_LINES
    UART_IER(0)
    PEEK(CLAIM_S)
    FINISH
    .balign 4
spin: j spin
