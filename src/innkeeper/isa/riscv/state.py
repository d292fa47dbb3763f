# SPDX-License-Identifier: Apache-2.0
"""The state of one hart: a block of 64-bit words, and where each fact lies in it.

Both engines work on the same block: the reference engine through a `memoryview`, compiled code through a
pointer. Constants are word indexes (byte offset = 8 * index).
"""

from __future__ import annotations

# Architected registers.
X = 0
"""x0..x31; word X + 0 is never written and holds 0."""
SCRAP = 32
"""Where writes to x0 go."""
PC = 33
F = 64
"""f0..f31, raw bits, NaN-boxed as the architecture says."""

# Privilege and machine-level CSRs.
PRIV = 34
"""Current privilege: 0 U, 1 S, 3 M."""
MSTATUS = 35
"""Without SD, which is derived; FS as software wrote it, see FS_DIRTY."""
MISA = 36
MEDELEG = 37
MIDELEG = 38
MIE = 39
MIP = 40
"""Bits that software set (SSIP, and STIP/SEIP when written from M-mode); see IRQ_LINES."""
MTVEC = 41
MSCRATCH = 42
MEPC = 43
MCAUSE = 44
MTVAL = 45
MCOUNTEREN = 46
MCOUNTINHIBIT = 47
MENVCFG = 48
MHARTID = 49

# Supervisor-level CSRs.
STVEC = 50
SSCRATCH = 51
SEPC = 52
SCAUSE = 53
STVAL = 54
SCOUNTEREN = 55
SENVCFG = 56
SATP = 57
STIMECMP = 58

# Floating point.
FFLAGS = 59
"""Accrued exception flags that are not in the host's own sticky flags; read through `fp_collect`."""
FRM = 60
FS_DIRTY = 61
"""1 once a floating-point register or fcsr was written since FS was last written."""

# Counters. retired = INSTRET + SLICE - BUDGET (mod 2**64), see `retired`.
INSTRET = 62
SLICE = 63
"""Budget with which the current slice began."""
BUDGET = 96
"""Instructions that may still be executed in this slice (compiled code keeps it in a host register)."""
CYCLE_OFFSET = 97
"""Added to `retired` to give mcycle."""
INSTRET_OFFSET = 98
"""Added to `retired` to give minstret."""

# LR/SC reservation.
RESERVATION = 99
"""Physical address that LR read, or NO_RESERVATION; SC compares it, and memory, but no size."""
RESERVED_VALUE = 100
"""What LR read, without sign: SC is compare-and-swap against as many of its bits as SC has."""
NO_RESERVATION = (1 << 64) - 1

# Written by other threads, read by this hart.
IRQ_LINES = 101
"""Interrupt lines from devices, in mip's bit positions (MSIP, MTIP, SEIP, MEIP)."""
IPI_MAIL = 102
"""Another hart sets 1 to raise SSIP here; the hart takes it (exchange with 0) at its next poll."""
REQUEST = 103
"""Counts requests by other threads to forget translations and code; served at a poll."""
STOP = 104
"""1 asks the hart to leave `run` at its next poll with EXIT_INTERRUPTED."""
MTIMECMP = 105
"""CLINT comparator in ticks; MTIP is pending while time >= MTIMECMP."""

# Time: ticks of the 10 MHz timebase.
TIME_OFFSET = 106
"""Added to the clock's ticks to give `time`."""
VIRTUAL_CLOCK = 107
"""Not 0: ticks = retired / VIRTUAL_CLOCK (instructions per tick); 0: the host's monotonic clock."""

# Results of native functions and the exit to the machine.
RESULT = 108
"""Value that a native function gives besides its return code."""
FAULT_CAUSE = 109
FAULT_TVAL = 110
EXIT_REASON = 111
EXIT_ADDRESS = 112
EXIT_SIZE = 113
EXIT_VALUE = 114
EXIT_TARGET = 115
"""Word index of the register that an MMIO read goes to."""
EXIT_EXTEND = 116
"""How a read value is extended: bit 0 signed, bit 1 NaN-boxed 32-bit float."""
ECALL_EXITS = 117
"""1: an ecall from S-mode leaves with EXIT_ECALL (the machine answers SBI itself)."""
IMPLEMENTED = 118
"""Options of this hart, bits OPTION_*."""
HART_INDEX = 119
TRAP_COUNT = 120
"""Traps taken, for statistics."""

PMPCFG = 124
"""2 words: pmpcfg0, pmpcfg2 (16 entries)."""
PMPADDR = 128
"""16 words."""
PMP_ACTIVE = 144
"""0 where PMP entry 0 gives every access to everything, so that no access needs a check; else 1."""
LEAF_PTE = 145
"""Leaf PTE that the last successful `translate` used (A and D set); 0 if it did not walk."""
LEAF_SHIFT = 146
"""log2 of the size in bytes of the page that LEAF_PTE maps; set together with it."""

# The engines' own words. Nothing below ENGINE is architected.
ENGINE = 160
HART_WORDS = 1024
"""Size of the block in words; the jit engine's own state begins at ENGINE."""

# What a native function called by `Hart.system` returns.
OUTCOME_NEXT = 0
OUTCOME_TRAP = 1
OUTCOME_EXIT = 16
"""Plus the ExitReason's number: leave to the machine; h[EXIT_*] say more."""

POLL_INTERVAL = 4096
"""Instructions after which an engine looks for interrupts and requests, at the latest."""
