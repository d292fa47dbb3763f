/* SPDX-License-Identifier: Apache-2.0
 *
 * Framework of the bare-metal test programs. Included first; FINISH ends the program.
 *
 * A program runs in M-mode and appends (identifier, value) pairs of doublewords to the signature in RAM. The
 * identifier is the source line, with the kind of value in its upper half, so that a mismatch names the line.
 * A trap into M-mode records cause, epc, tval and status, and goes on in M-mode at the point that TRY or GO
 * left in s10. A trap into S-mode records the same of S-mode and then ecalls to M-mode.
 * Nothing that depends on time may be recorded.
 *
 * Reserved registers: s7 scratch, s8 current line, s9 scratch, s10 where to go on, s11 signature pointer.
 * The page table macros also use t4, t5, t6.
 */

#define MODE_U 0
#define MODE_S 1
#define MODE_M 3

#define MSTATUS_SIE (1 << 1)
#define MSTATUS_MIE (1 << 3)
#define MSTATUS_SPIE (1 << 5)
#define MSTATUS_MPIE (1 << 7)
#define MSTATUS_SPP (1 << 8)
#define MSTATUS_MPP (3 << 11)
#define MSTATUS_FS (3 << 13)
#define MSTATUS_MPRV (1 << 17)
#define MSTATUS_SUM (1 << 18)
#define MSTATUS_MXR (1 << 19)
#define MSTATUS_TVM (1 << 20)
#define MSTATUS_TW (1 << 21)
#define MSTATUS_TSR (1 << 22)
/* What a trap records of mstatus: not FS, VS, XS, SD, UXL, SXL, which fs.S and csr.S look at. */
#define MSTATUS_RECORDED 0x7e19aa

#define SSI (1 << 1)
#define MSI (1 << 3)
#define STI (1 << 5)
#define MTI (1 << 7)
#define SEI (1 << 9)
#define MEI (1 << 11)

#define MENVCFG_STCE (1 << 63)
#define MENVCFG_ADUE (1 << 61)

#define PTE_V 0x01
#define PTE_R 0x02
#define PTE_W 0x04
#define PTE_X 0x08
#define PTE_U 0x10
#define PTE_G 0x20
#define PTE_A 0x40
#define PTE_D 0x80
#define PTE_RWX (PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D)
#define PTE_RW (PTE_V | PTE_R | PTE_W | PTE_A | PTE_D)

#define UART 0x10000000
#define TEST_DEVICE 0x100000
#define TEST_DEVICE_POWER_OFF 0x5555
#define CLINT 0x2000000
#define CLINT_MTIMECMP (CLINT + 0x4000)
#define CLINT_MTIME (CLINT + 0xbff8)
#define PLIC 0xc000000
#define NOTHING_THERE 0x200000 /* a physical address where the board has neither RAM nor a device */
#define RAM 0x80000000
/* Under VM_BASIC user code runs at this virtual address plus its offset in RAM. */
#define USER_ALIAS 0x40000000

/* Between these, traps record 0 as mtval of an illegal instruction: the specification leaves the choice of its bits
 * or 0, and for some instructions QEMU 10.0 takes the other one than we do. */
#define HIDE_ILLEGAL_TVAL la s9, tval_hidden; sd s9, 0(s9)
#define SHOW_ILLEGAL_TVAL la s9, tval_hidden; sd zero, 0(s9)

/* Append one value; any register but s7 and s11. */
#define RECORD(reg) li s7, __LINE__; sd s7, 0(s11); sd reg, 8(s11); addi s11, s11, 16

/* Run an instruction that may trap; a trap is recorded and skips to behind it. */
#define TRY(...) li s8, __LINE__; la s10, 99f; __VA_ARGS__; 99: li s10, 0

/* Continue in a lower mode at an address (register: not s9), return here by its next trap into M-mode. */
#define GO_AT(mode, reg) \
    li s8, __LINE__; la s10, 99f; csrw mepc, reg; li s9, MSTATUS_MPP; csrc mstatus, s9; \
    li s9, (mode) << 11; csrs mstatus, s9; mret; .balign 4; 99: li s10, 0
#define GO(mode, label) la s7, label; GO_AT(mode, s7)
/* The same through the user mapping of VM_BASIC. */
#define GO_USER(label) la s7, label; li s9, RAM - USER_ALIAS; sub s7, s7, s9; GO_AT(MODE_U, s7)

#define SET(csr, bits) li s9, bits; csrs csr, s9
#define CLEAR(csr, bits) li s9, bits; csrc csr, s9
#define WRITE(csr, value) li s9, value; csrw csr, s9
#define READ(csr) csrr s9, csr; RECORD(s9)
/* Write, read back, record; and under a mask. */
#define PROBE(csr, value) WRITE(csr, value); READ(csr)
#define PROBE_MASKED(csr, value, mask) WRITE(csr, value); csrr s9, csr; li s7, mask; and s9, s9, s7; RECORD(s9)

/* table[index] = a leaf for a physical address; or a pointer to another table; or any value. */
#define PTE(table, index, value) la t5, table; li t4, (index) * 8; add t5, t5, t4; li t6, value; sd t6, 0(t5)
#define LEAF(table, index, physical, flags) PTE(table, index, (((physical) >> 12) << 10) | (flags))
#define LINK(table, index, child) \
    la t5, table; li t4, (index) * 8; add t5, t5, t4; la t6, child; srli t6, t6, 2; ori t6, t6, PTE_V; sd t6, 0(t5)
/* A leaf for the page of a label. */
#define LEAF_OF(table, index, label, flags) \
    la t5, table; li t4, (index) * 8; add t5, t5, t4; la t6, label; srli t6, t6, 12; slli t6, t6, 10; \
    li t4, flags; or t6, t6, t4; sd t6, 0(t5)
#define SATP(mode, table) la t5, table; srli t5, t5, 12; li t6, (mode) << 60; or t5, t5, t6; csrw satp, t5; sfence.vma
#define SV39 8
#define SV48 9
#define SV57 10

/* Sv39 with RAM identity-mapped for S (one gigapage) and at USER_ALIAS for U. Entry 2 is RAM, 1 the alias. */
#define VM_BASIC(table) \
    LEAF(table, 2, RAM, PTE_RWX); LEAF(table, 1, RAM, PTE_RWX | PTE_U); SATP(SV39, table)

#define TABLE(name) .balign 4096; name: .zero 4096

#define RECORD_KIND(kind, reg) \
    li s7, kind; slli s7, s7, 32; or s7, s7, s8; sd s7, 0(s11); sd reg, 8(s11); addi s11, s11, 16

    .section .text.start, "ax"
    .globl _start
_start:
    la s11, signature
    li s10, 0
    li s8, 0
    la s9, m_trap
    csrw mtvec, s9
    la s9, s_trap
    csrw stvec, s9
    csrw mie, zero
    csrw satp, zero
    csrw medeleg, zero
    csrw mideleg, zero
    li s9, -1
    csrw pmpaddr0, s9
    li s9, 0x1f
    csrw pmpcfg0, s9
    j main

    .balign 4
m_trap:
    csrr s9, mcause
    RECORD_KIND(1, s9)
    csrr s9, mepc
    RECORD_KIND(2, s9)
    csrr s9, mcause
    addi s9, s9, -2
    la s7, tval_hidden
    ld s7, 0(s7)
    seqz s7, s7
    or s7, s7, s9
    csrr s9, mtval
    bnez s7, 1f
    li s9, 0
1:  RECORD_KIND(3, s9)
    csrr s9, mstatus
    li s7, MSTATUS_RECORDED
    and s9, s9, s7
    RECORD_KIND(4, s9)
    csrr s9, mcause
    bgez s9, 1f
    csrw mie, zero
1:  li s9, MSTATUS_MPRV | MSTATUS_MIE | MSTATUS_MPIE
    csrc mstatus, s9
    beqz s10, finish
    li s9, MSTATUS_MPP
    csrs mstatus, s9
    csrw mepc, s10
    li s10, 0
    mret

    .balign 4
s_trap:
    csrr s9, scause
    RECORD_KIND(5, s9)
    csrr s9, sepc
    RECORD_KIND(6, s9)
    csrr s9, stval
    RECORD_KIND(7, s9)
    csrr s9, sstatus
    li s7, MSTATUS_RECORDED
    and s9, s9, s7
    RECORD_KIND(8, s9)
    csrr s9, scause
    bgez s9, 1f
    csrw sie, zero
1:  ecall
    j 1b

/* Print the signature as lines of two 16-digit hexadecimal numbers, then power off. */
finish:
    csrw mie, zero
    la s0, signature
    li s1, UART
    li s5, 1
    sb s5, 2(s1) /* FIFOs on: room for 16 when the transmitter is empty */
1:  beq s0, s11, 5f
    ld s2, 0(s0)
    addi s0, s0, 8
    li s3, 60
7:  lbu s5, 5(s1)
    andi s5, s5, 0x20
    beqz s5, 7b
2:  srl s4, s2, s3
    andi s4, s4, 15
    addi s4, s4, '0'
    li s5, '9'
    ble s4, s5, 3f
    addi s4, s4, 'a' - '9' - 1
3:  sb s4, 0(s1)
    addi s3, s3, -4
    bgez s3, 2b
4:  lbu s5, 5(s1)
    andi s5, s5, 0x20
    beqz s5, 4b
    li s4, '\n'
    sb s4, 0(s1)
    j 1b
5:  li s0, TEST_DEVICE
    li s1, TEST_DEVICE_POWER_OFF
    sw s1, 0(s0)
6:  wfi
    j 6b

    .section .bss
    .balign 4096
signature: .zero 65536
tval_hidden: .dword 0
    .text

#define FINISH RECORD(zero); j finish
