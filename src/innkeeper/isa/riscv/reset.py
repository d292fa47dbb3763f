# SPDX-License-Identifier: Apache-2.0
"""The state in which a hart starts; both engines use it.

Spec: riscv-priv 20240411, "Reset"; riscv-sbi 2.0, "Hart State Management Extension" for starts in S-mode
"""

from __future__ import annotations

from innkeeper.isa.riscv.state import (
    ECALL_EXITS,
    ENGINE,
    HART_INDEX,
    IMPLEMENTED,
    IRQ_LINES,
    MCOUNTEREN,
    MEDELEG,
    MENVCFG,
    MHARTID,
    MIDELEG,
    MISA,
    MSTATUS,
    MTIMECMP,
    NO_RESERVATION,
    PC,
    PMP_ACTIVE,
    PMPADDR,
    PMPCFG,
    PRIV,
    REQUEST,
    RESERVATION,
    SCOUNTEREN,
    STIMECMP,
    STOP,
    TIME_OFFSET,
    VIRTUAL_CLOCK,
    X,
)
from innkeeper.spec.riscv import (
    COUNTER_CY,
    COUNTER_IR,
    COUNTER_TM,
    ENVCFG_CBCFE,
    ENVCFG_CBIE,
    ENVCFG_CBZE,
    MENVCFG_ADUE,
    MENVCFG_STCE,
    MIP_SUPERVISOR,
    MISA_LETTERS,
    MISA_RV64,
    MSTATUS_SXL_64,
    MSTATUS_UXL_64,
    PMP_A_SHIFT,
    PMP_ADDRESS_MASK,
    PMP_NAPOT,
    PMP_R,
    PMP_W,
    PMP_X,
    PRIV_M,
)

_KEPT = frozenset(
    {IRQ_LINES, STOP, REQUEST, ECALL_EXITS, TIME_OFFSET, VIRTUAL_CLOCK, HART_INDEX, IMPLEMENTED}
)
"""Words that a reset leaves: they belong to the machine around the hart, or other threads write them."""
NEVER = (1 << 64) - 1
"""A comparator that is reached after 58,000 years."""
SUPERVISOR_EXCEPTIONS = 0xB1FF
"""What the environment of an S-mode hart delegates to it: everything but its own ecalls."""


def reset_words(words: memoryview, pc: int, privilege: int, a0: int, a1: int) -> None:
    """Reset the architected state and start at `pc` in `privilege` (0, 1, 3) with two arguments.

    Below M-mode the hart is as firmware leaves it: everything delegated, all memory open (PMP entry 0), the
    counters, stimecmp, cache-block instructions and hardware update of A and D enabled. Words from `ENGINE`
    on are not touched.
    """
    for index in range(ENGINE):
        if index not in _KEPT:
            words[index] = 0
    words[PC] = pc
    words[PRIV] = privilege
    words[X + 10] = a0
    words[X + 11] = a1
    words[MHARTID] = words[HART_INDEX]
    words[MISA] = MISA_RV64 | MISA_LETTERS
    words[MSTATUS] = MSTATUS_UXL_64 | MSTATUS_SXL_64
    words[MTIMECMP] = NEVER
    words[STIMECMP] = NEVER
    words[RESERVATION] = NO_RESERVATION
    words[PMP_ACTIVE] = 1
    if privilege != PRIV_M:
        _as_firmware_leaves_it(words)


def _as_firmware_leaves_it(words: memoryview) -> None:
    counters = COUNTER_CY | COUNTER_TM | COUNTER_IR
    words[MEDELEG] = SUPERVISOR_EXCEPTIONS
    words[MIDELEG] = MIP_SUPERVISOR
    words[MCOUNTEREN] = words[SCOUNTEREN] = counters
    words[MENVCFG] = MENVCFG_STCE | MENVCFG_ADUE | ENVCFG_CBIE | ENVCFG_CBCFE | ENVCFG_CBZE
    words[PMPCFG] = PMP_NAPOT << PMP_A_SHIFT | PMP_R | PMP_W | PMP_X
    words[PMPADDR] = PMP_ADDRESS_MASK
    words[PMP_ACTIVE] = 0
