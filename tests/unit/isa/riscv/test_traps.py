# SPDX-License-Identifier: Apache-2.0
"""Exceptions and interrupts: where they go, what is stacked, who wins, and the way back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.isa.riscv.state import (
    IRQ_LINES,
    MCAUSE,
    MEDELEG,
    MEPC,
    MIDELEG,
    MIE,
    MSTATUS,
    MTIMECMP,
    MTVAL,
    MTVEC,
    OUTCOME_NEXT,
    OUTCOME_TRAP,
    PC,
    PRIV,
    SCAUSE,
    SEPC,
    STVAL,
    STVEC,
    TRAP_COUNT,
)
from innkeeper.isa.riscv.traps import (
    pending_interrupt,
    poll_interrupt,
    raise_exception,
    raise_illegal,
    return_from_machine,
    return_from_supervisor,
    take_interrupt,
)
from innkeeper.spec import riscv as spec
from innkeeper.spec.riscv import PRIV_M, PRIV_S, PRIV_U
from tests.unit.isa.riscv.bare_hart import CODE, BareHart

MTVEC_BASE, STVEC_BASE = 0x8000_3000, 0x8000_5000
INTERRUPT = 1 << 63


def hart_in(privilege: int) -> BareHart:
    hart = BareHart()
    hart.words[PRIV] = privilege
    hart.words[MTVEC], hart.words[STVEC] = MTVEC_BASE, STVEC_BASE
    return hart


@pytest.mark.parametrize("privilege", [PRIV_U, PRIV_S, PRIV_M])
@pytest.mark.parametrize("delegated", [False, True])
def test_exception_goes_to_machine_mode_unless_delegated_from_below(privilege: int, delegated: bool) -> None:
    hart = hart_in(privilege)
    hart.words[MEDELEG] = 1 << 13 if delegated else ~(1 << 13) & 0xFFFF
    hart.words[MSTATUS] |= spec.MSTATUS_SIE | spec.MSTATUS_MIE
    assert raise_exception(hart.h, 13, 0xDEAD) == OUTCOME_TRAP
    status = hart.words[MSTATUS]
    if delegated and privilege != PRIV_M:
        assert (hart.words[PC], hart.words[PRIV]) == (STVEC_BASE, PRIV_S)
        assert (hart.words[SCAUSE], hart.words[SEPC], hart.words[STVAL]) == (13, CODE, 0xDEAD)
        assert status & spec.MSTATUS_SIE == 0
        assert status & spec.MSTATUS_SPIE
        assert bool(status & spec.MSTATUS_SPP) == (privilege == PRIV_S)
        assert status & spec.MSTATUS_MIE
    else:
        assert (hart.words[PC], hart.words[PRIV]) == (MTVEC_BASE, PRIV_M)
        assert (hart.words[MCAUSE], hart.words[MEPC], hart.words[MTVAL]) == (13, CODE, 0xDEAD)
        assert status & spec.MSTATUS_MIE == 0
        assert status & spec.MSTATUS_MPIE
        assert status >> 11 & 3 == privilege
        assert status & spec.MSTATUS_SIE
    assert hart.words[TRAP_COUNT] == 1
    assert hart.surroundings.calls == [("translation_changed",)]


def test_only_interrupts_are_vectored() -> None:
    hart = hart_in(PRIV_M)
    hart.words[MTVEC] |= 1
    raise_exception(hart.h, 3, 0)
    assert hart.words[PC] == MTVEC_BASE
    take_interrupt(hart.h, 7)
    assert hart.words[PC] == MTVEC_BASE + 28
    assert hart.words[MCAUSE] == INTERRUPT | 7


@pytest.mark.parametrize(
    ("bits", "tval"), [(0xFFFF_FFFF, 0xFFFF_FFFF), (0x1234_0000, 0), (0x1234_FFFC, 0xFFFC)]
)
def test_tval_of_an_illegal_instruction_is_its_bits(bits: int, tval: int) -> None:
    hart = hart_in(PRIV_M)
    hart.ram.put(CODE, bits, 4)
    raise_illegal(hart.h)
    assert (hart.words[MCAUSE], hart.words[MTVAL], hart.words[MEPC]) == (2, tval, CODE)


def test_interrupts_by_priority() -> None:
    hart = hart_in(PRIV_M)
    hart.words[MSTATUS] |= spec.MSTATUS_MIE
    hart.words[MIE] = spec.MIP_ALL
    hart.words[IRQ_LINES] = spec.MIP_ALL
    order = []
    while found := pending_interrupt(hart.h):
        order.append(found - 1)
        hart.words[IRQ_LINES] &= ~(1 << found - 1)
    assert order == [11, 3, 7, 9, 1, 5]


@pytest.mark.parametrize(
    ("privilege", "status", "delegated", "taken"),
    [
        (PRIV_M, 0, 0, False),
        (PRIV_M, spec.MSTATUS_MIE, 0, True),
        (PRIV_M, spec.MSTATUS_MIE | spec.MSTATUS_SIE, 0x222, False),
        (PRIV_S, 0, 0, True),
        (PRIV_S, 0, 0x222, False),
        (PRIV_S, spec.MSTATUS_SIE, 0x222, True),
        (PRIV_U, 0, 0x222, True),
        (PRIV_U, 0, 0, True),
    ],
)
def test_when_an_interrupt_is_taken(privilege: int, status: int, delegated: int, taken: bool) -> None:
    hart = hart_in(privilege)
    hart.words[MSTATUS] |= status
    hart.words[MIDELEG] = delegated
    hart.words[MIE] = spec.MIP_SEIP
    hart.words[IRQ_LINES] = spec.MIP_SEIP
    assert poll_interrupt(hart.h) == int(taken)
    if taken:
        assert hart.words[PC] == (STVEC_BASE if delegated else MTVEC_BASE)
        assert hart.words[SCAUSE if delegated else MCAUSE] == INTERRUPT | 9
        assert hart.words[STVAL if delegated else MTVAL] == 0
        assert poll_interrupt(hart.h) == 0, "the handler runs with interrupts off"
    hart = hart_in(privilege)
    hart.words[IRQ_LINES] = spec.MIP_SEIP
    assert poll_interrupt(hart.h) == 0, "mie has the last word"


def test_machine_interrupts_come_before_delegated_ones() -> None:
    hart = hart_in(PRIV_S)
    hart.words[MSTATUS] |= spec.MSTATUS_SIE
    hart.words[MIDELEG] = 0x222
    hart.words[MIE] = hart.words[IRQ_LINES] = spec.MIP_SEIP | spec.MIP_MTIP
    assert pending_interrupt(hart.h) == 8


def test_machine_timer() -> None:
    hart = hart_in(PRIV_U)
    hart.words[MIE] = spec.MIP_MTIP
    hart.words[MTIMECMP] = 50
    hart.surroundings.time_ns = 4999
    assert pending_interrupt(hart.h) == 0
    hart.surroundings.time_ns = 5000
    assert pending_interrupt(hart.h) == 8


@pytest.mark.parametrize("previous", [PRIV_U, PRIV_S, PRIV_M])
def test_mret(previous: int) -> None:
    hart = hart_in(PRIV_M)
    hart.words[MEPC] = 0x8000_8888
    hart.words[MSTATUS] |= previous << 11 | spec.MSTATUS_MPIE | spec.MSTATUS_MPRV
    assert return_from_machine(hart.h) == OUTCOME_NEXT
    assert (hart.words[PC], hart.words[PRIV]) == (0x8000_8888, previous)
    status = hart.words[MSTATUS]
    assert status & spec.MSTATUS_MIE
    assert status & spec.MSTATUS_MPIE
    assert status & spec.MSTATUS_MPP == 0
    assert bool(status & spec.MSTATUS_MPRV) == (previous == PRIV_M)


@pytest.mark.parametrize("previous", [PRIV_U, PRIV_S])
@pytest.mark.parametrize("privilege", [PRIV_S, PRIV_M])
def test_sret(previous: int, privilege: int) -> None:
    hart = hart_in(privilege)
    hart.words[SEPC] = 0x8000_8888
    hart.words[MSTATUS] |= previous << 8 | spec.MSTATUS_MPRV | spec.MSTATUS_SIE
    assert return_from_supervisor(hart.h) == OUTCOME_NEXT
    assert (hart.words[PC], hart.words[PRIV]) == (0x8000_8888, previous)
    status = hart.words[MSTATUS]
    assert status & (spec.MSTATUS_SIE | spec.MSTATUS_SPP | spec.MSTATUS_MPRV) == 0
    assert status & spec.MSTATUS_SPIE


def test_returns_that_are_illegal() -> None:
    for privilege, status, function in [
        (PRIV_S, 0, return_from_machine),
        (PRIV_U, 0, return_from_machine),
        (PRIV_U, 0, return_from_supervisor),
        (PRIV_S, spec.MSTATUS_TSR, return_from_supervisor),
    ]:
        hart = hart_in(privilege)
        hart.words[MSTATUS] |= status
        assert function(hart.h) == OUTCOME_TRAP
        assert hart.words[MCAUSE] == 2
    hart = hart_in(PRIV_M)
    hart.words[MSTATUS] |= spec.MSTATUS_TSR
    assert return_from_supervisor(hart.h) == OUTCOME_NEXT


@given(
    privilege=st.sampled_from([PRIV_U, PRIV_S, PRIV_M]),
    status=st.integers(0, 0xFFFF_FFFF).map(lambda v: v & 0x7E61AA),
    deleg=st.integers(0, 0xFFFF),
    cause=st.integers(0, 15),
)
def test_a_return_undoes_a_trap(privilege: int, status: int, deleg: int, cause: int) -> None:
    hart = hart_in(privilege)
    hart.words[MSTATUS] |= status
    hart.words[MEDELEG] = deleg
    raise_exception(hart.h, cause, 0)
    hart.words[MSTATUS] &= ~spec.MSTATUS_TSR
    (return_from_supervisor if hart.words[PRIV] == PRIV_S else return_from_machine)(hart.h)
    assert (hart.words[PC], hart.words[PRIV]) == (CODE, privilege)
    enables = spec.MSTATUS_MIE | spec.MSTATUS_SIE
    assert hart.words[MSTATUS] & enables == status & enables
