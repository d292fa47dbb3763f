/* SPDX-License-Identifier: Apache-2.0 */
/* Physical memory protection: modes of matching, permissions, priority, locks on M-mode. Everything is a multiple of
 * PAGE, our granularity, so that NA4 and accesses that match in part are left out. */
#include "framework.h"
#define R 1
#define W 2
#define X 4
#define TOR (1 << 3)
#define NAPOT (3 << 3)
#define L (1 << 7)
#define PAGE 4096
/* Access user data in each mode. */
#define USE(offset) \
    la a1, data; li a2, offset; add a1, a1, a2; GO(MODE_U, do_load); GO(MODE_U, do_store); GO(MODE_S, do_load); GO_AT(MODE_U, a1); \
    TRY(ld a0, 0(a1)); TRY(sd a0, 0(a1)); GO(MODE_U, do_load_byte); GO(MODE_U, do_amo)
#define ADDRESS(register, offset) la s9, data; li s8, offset; add s9, s9, s8; srli s9, s9, 2; csrw register, s9
#define ADDRESS_NAPOT(register, label, size) \
    la s9, label; srli s9, s9, 2; li s8, ((size) >> 3) - 1; or s9, s9, s8; csrw register, s9
/* Entry 3 allows everything to everybody; entries 0 to 2 are tested. */
#define OPEN_BEHIND (NAPOT | R | W | X) << 24
main:
    li s0, -1
    csrw pmpaddr3, s0
    /* No permissions; each one; all. */
    ADDRESS_NAPOT(pmpaddr0, data, PAGE)
    WRITE(pmpcfg0, OPEN_BEHIND | NAPOT)
    USE(0)
    USE(PAGE)
    WRITE(pmpcfg0, OPEN_BEHIND | NAPOT | R)
    USE(0)
    WRITE(pmpcfg0, OPEN_BEHIND | NAPOT | R | W)
    USE(0)
    WRITE(pmpcfg0, OPEN_BEHIND | NAPOT | X)
    USE(0)
    WRITE(pmpcfg0, OPEN_BEHIND | NAPOT | R | X)
    USE(32)
    /* TOR from 0, and between two addresses; an empty range matches nothing. */
    ADDRESS(pmpaddr0, PAGE)
    ADDRESS(pmpaddr1, 3 * PAGE)
    WRITE(pmpcfg0, OPEN_BEHIND | TOR << 8 | R << 8)
    USE(PAGE - 8)
    USE(PAGE)
    USE(3 * PAGE - 8)
    USE(3 * PAGE)
    ADDRESS(pmpaddr1, PAGE)
    WRITE(pmpcfg0, OPEN_BEHIND | TOR << 8)
    USE(PAGE)
    /* The lowest-numbered match decides. */
    ADDRESS_NAPOT(pmpaddr0, data, PAGE)
    ADDRESS_NAPOT(pmpaddr1, data, 2 * PAGE)
    WRITE(pmpcfg0, OPEN_BEHIND | NAPOT << 8 | NAPOT | R)
    USE(0)
    USE(PAGE)
    /* A locked entry binds M-mode too, and its registers keep their values. */
    ADDRESS_NAPOT(pmpaddr0, data, PAGE)
    WRITE(pmpcfg0, OPEN_BEHIND | L | NAPOT | R)
    USE(0)
    READ(pmpcfg0)
    csrr s1, pmpaddr0
    csrw pmpaddr0, zero
    csrr s2, pmpaddr0
    xor s1, s1, s2
    RECORD(s1)
    WRITE(pmpcfg0, OPEN_BEHIND)
    READ(pmpcfg0)
    USE(0)
    /* Locked TOR locks the address below it. */
    ADDRESS(pmpaddr1, 2 * PAGE)
    ADDRESS(pmpaddr2, 3 * PAGE)
    WRITE(pmpcfg0, OPEN_BEHIND | (L | TOR | R) << 16)
    csrr s1, pmpaddr1
    csrw pmpaddr1, zero
    csrr s2, pmpaddr1
    xor s1, s1, s2
    RECORD(s1)
    USE(2 * PAGE)
    /* 54 address bits, of which the granularity hides 10; QEMU 10.0 keeps 64. */
    PROBE_MASKED(pmpaddr4, -1, 0x3ffffffffffc00)
    PROBE_MASKED(pmpaddr15, -1, 0x3ffffffffffc00)
    /* Nothing matches: lower modes are refused, M-mode is not. */
    WRITE(pmpcfg0, 0)
    GO(MODE_U, do_load_byte)
    GO(MODE_S, do_load_byte)
    TRY(lb a0, 0(a1))
    FINISH
    .balign 4
do_load: ld a0, 0(a1); ecall
do_store: sd a0, 0(a1); ecall
do_load_byte: lb a0, 0(a1); ecall
do_amo: amoadd.w a0, zero, (a1); ecall
    .balign 16384
data:
    .rept 4096
    ecall
    .endr
