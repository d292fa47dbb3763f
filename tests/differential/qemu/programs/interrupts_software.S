/* SPDX-License-Identifier: Apache-2.0 */
/* Supervisor interrupts made pending by software: where they go, which first, what masks them. */
#include "framework.h"
#define CLEAR_ALL csrw mie, zero; csrw mip, zero; CLEAR(mstatus, MSTATUS_MIE | MSTATUS_SIE)
main:
    /* Not delegated, M-mode, MIE 0: nothing; MIE 1: at once. */
    WRITE(mie, SSI)
    TRY(csrwi mip, SSI)
    TRY(csrsi mstatus, MSTATUS_MIE; nop)
    CLEAR_ALL
    /* Lower modes take M-mode interrupts whatever MIE says. */
    WRITE(mie, SSI)
    csrwi mip, SSI
    GO(MODE_S, spin)
    CLEAR_ALL
    WRITE(mie, SSI)
    csrwi mip, SSI
    GO(MODE_U, spin)
    CLEAR_ALL
    /* Delegated: not in M; in S with SIE; in U always. */
    WRITE(mideleg, SSI | STI | SEI)
    WRITE(mie, SSI | STI | SEI)
    SET(mip, SSI | STI | SEI)
    TRY(csrsi mstatus, MSTATUS_MIE; nop; nop)
    CLEAR(mstatus, MSTATUS_MIE)
    GO(MODE_S, just_ecall)
    CLEAR(sstatus, MSTATUS_SPIE)
    SET(mstatus, MSTATUS_SIE)
    WRITE(mie, SEI)
    GO(MODE_S, spin)
    CLEAR(mstatus, MSTATUS_SIE)
    WRITE(mie, SEI)
    GO(MODE_U, spin)
    /* Priority: SSI, STI. SEI comes before both, but QEMU 10.0 takes the lowest number first, whatever it is. */
    WRITE(mie, SSI | STI)
    GO(MODE_U, spin)
    WRITE(mie, STI)
    GO(MODE_U, spin)
    CLEAR_ALL
    /* Some to M, some to S: M first. */
    WRITE(mideleg, SEI)
    WRITE(mie, SSI | STI | SEI)
    SET(mip, SSI | STI | SEI)
    GO(MODE_U, spin)
    WRITE(mie, SEI)
    GO(MODE_U, spin)
    CLEAR_ALL
    /* The supervisor's view: only delegated bits, only SSIP writable. */
    WRITE(mideleg, SSI | STI | SEI)
    csrw sip, zero
    SET(sip, -1)
    csrr a0, mip
    andi a0, a0, 0x222
    RECORD(a0)
    SET(mip, SSI | STI | SEI)
    READ(sip)
    WRITE(mideleg, STI)
    READ(sip)
    WRITE(sie, -1)
    READ(mie)
    csrw mip, zero
    FINISH
    .balign 4
just_ecall: ecall
spin: j spin
