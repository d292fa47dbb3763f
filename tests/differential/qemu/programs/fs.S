/* SPDX-License-Identifier: Apache-2.0 */
/* mstatus.FS: off traps, writes make dirty, SD follows. */
#include "framework.h"
#define RECORD_FS csrr a0, mstatus; li a1, 0x8000000000006000; and a0, a0, a1; RECORD(a0)
main:
    CLEAR(mstatus, MSTATUS_FS)
    RECORD_FS
    TRY(fadd.d f0, f1, f2)
    TRY(fld f0, 0(a0))
    TRY(c.fld f8, 0(a0))
    TRY(fsd f0, 0(a0))
    TRY(csrr a0, fcsr)
    TRY(csrw fflags, zero)
    TRY(fmv.x.d a0, f0)
    TRY(flw f0, 0(a0))
    SET(mstatus, 1 << 13)
    RECORD_FS
    la a2, data
    fsd f0, 0(a2)
    RECORD_FS
    fmv.x.d a3, f0
    csrr a3, fcsr
    RECORD(a3)
    RECORD_FS
    fld f0, 8(a2)
    RECORD_FS
    CLEAR(mstatus, MSTATUS_FS)
    SET(mstatus, 2 << 13)
    RECORD_FS
    csrwi frm, 1
    RECORD_FS
    CLEAR(mstatus, MSTATUS_FS)
    SET(mstatus, 2 << 13)
    fmv.w.x f3, zero
    RECORD_FS
    /* A comparison writes only an x register, and flags on a NaN. */
    CLEAR(mstatus, MSTATUS_FS)
    SET(mstatus, 2 << 13)
    csrwi fflags, 0
    CLEAR(mstatus, MSTATUS_FS)
    SET(mstatus, 2 << 13)
    li a3, 0x7ff0000000000001
    SET(mstatus, MSTATUS_FS)
    fmv.d.x f1, a3
    flt.d a3, f1, f0
    csrr a3, fflags
    RECORD(a3)
    RECORD_FS
    /* Reserved rounding modes. */
    TRY(.insn r 0x53, 5, 1, f0, f1, f2) /* fadd.d, rm = 5 */
    csrwi frm, 5
    TRY(.insn r 0x53, 7, 1, f0, f1, f2) /* fadd.d, rm = dyn */
    csrwi frm, 0
    csrwi fcsr, 0
    READ(frm)
    WRITE(fcsr, -1)
    READ(fcsr)
    READ(frm)
    READ(fflags)
    FINISH
    .balign 8
data: .dword 0, 0x3ff0000000000000
