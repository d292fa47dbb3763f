/* SPDX-License-Identifier: Apache-2.0 */
/* Every exception that M-mode itself can raise. */
#include "framework.h"
main:
    TRY(.word 0xffffffff)
    TRY(.half 0; .half 0)
    TRY(ebreak)
    TRY(c.ebreak)
    TRY(ecall)
    li a0, NOTHING_THERE
    TRY(lb a1, 1(a0))
    TRY(ld a1, 8(a0))
    TRY(fld f0, 8(a0))
    TRY(sw a1, 4(a0))
    TRY(lr.w a1, (a0))
    TRY(amoadd.w a1, a1, (a0))
    TRY(jr a0)
    la a0, data
    addi a2, a0, 2
    TRY(lr.w a1, (a2))
    addi a0, a0, 1
    TRY(lr.d a1, (a0))
    /* Misaligned sc and amo: the user-mode oracle has them; QEMU reports cause 4, against the specification. */
    /* No CSR there; a read-only one written; and read with csrrs x0, which is allowed. */
    TRY(csrr a1, 0x5c0)
    TRY(csrw cycle, a1)
    TRY(csrw mhartid, zero)
    TRY(csrr a1, mhartid)
    RECORD(a1)
    TRY(csrrci a1, mhartid, 0)
    RECORD(a1)
    TRY(csrrwi a1, mhartid, 0)
    TRY(.insn i 0x73, 0, x1, x0, 0x7b0) /* dret space: reserved SYSTEM encoding with rd != 0 */
    FINISH
    .balign 16
data: .dword 0x1122334455667788, 0
