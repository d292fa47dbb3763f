# SPDX-License-Identifier: Apache-2.0
"""Every CSR: who may access it, and which values it can hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.isa.riscv.csrs import read_csr
from innkeeper.isa.riscv.state import (
    BUDGET,
    FFLAGS,
    FS_DIRTY,
    IPI_MAIL,
    IRQ_LINES,
    MCAUSE,
    MCOUNTEREN,
    MENVCFG,
    MIDELEG,
    MIE,
    MIP,
    MSTATUS,
    MTVAL,
    OUTCOME_NEXT,
    OUTCOME_TRAP,
    PC,
    RESULT,
    SATP,
    SCOUNTEREN,
    SLICE,
    STIMECMP,
    TIME_OFFSET,
    VIRTUAL_CLOCK,
    X,
)
from innkeeper.spec import riscv as spec
from innkeeper.spec.riscv import PRIV_M, PRIV_S, PRIV_U
from tests.unit.isa.riscv.bare_hart import CODE, BareHart, encode

ONES = (1 << 64) - 1
FS_ON = 1 << 13
UXL_SXL = 2 << 32 | 2 << 34


def access(hart: BareHart, name: str, number: int, value: int) -> int | None:
    """Execute csrrw/csrrs/csrrc x5, number, x6; the old value or None if it trapped."""
    hart.words[PC] = CODE
    hart.words[X + 6] = value
    outcome = hart.execute(name, rd=5, csr=number, rs1=6)
    if outcome == OUTCOME_TRAP:
        assert hart.words[MCAUSE] == 2
        assert hart.words[MTVAL] == encode(name, rd=5, csr=number, rs1=6)
        return None
    assert outcome == OUTCOME_NEXT
    assert hart.words[PC] == CODE + 4
    return hart.x(5)


def settle(number: int, value: int, hart: BareHart | None = None) -> int:
    """What the CSR holds after `value` was written over zeros."""
    hart = hart or BareHart()
    hart.words[MSTATUS] |= FS_ON
    assert access(hart, "csrrw", number, 0) is not None
    assert access(hart, "csrrw", number, value) is not None
    assert read_csr(hart.h, number) == 1
    return hart.words[RESULT]


WARL = [
    (spec.CSR_FFLAGS, ONES, 0x1F),
    (spec.CSR_FRM, ONES, 7),
    (spec.CSR_FCSR, ONES, 0xFF),
    (spec.CSR_SSTATUS, ONES, spec.MSTATUS_SD | 2 << 32 | 0xC6122),
    (spec.CSR_MSTATUS, ONES, spec.MSTATUS_SD | UXL_SXL | 0x7E79AA),
    (spec.CSR_MISA, ONES, 1 << 63 | 0x14112D),
    (spec.CSR_MEDELEG, ONES, 0xB3FF),
    (spec.CSR_MIDELEG, ONES, 0x222),
    (spec.CSR_MIE, ONES, 0xAAA),
    (spec.CSR_SIE, ONES, 0),
    (spec.CSR_MTVEC, ONES, 0),
    (spec.CSR_MTVEC, 0x8000_0001, 0x8000_0001),
    (spec.CSR_STVEC, 0x8000_0002, 0),
    (spec.CSR_MCOUNTEREN, ONES, 7),
    (spec.CSR_SCOUNTEREN, ONES, 7),
    (spec.CSR_MCOUNTINHIBIT, ONES, 5),
    (spec.CSR_MENVCFG, ONES, 1 << 63 | 1 << 61 | 0xF1),
    (spec.CSR_MENVCFG, 0x20, 0),
    (spec.CSR_SENVCFG, ONES, 0xF1),
    (spec.CSR_SENVCFG, 0x20, 0),
    (spec.CSR_MSCRATCH, ONES, ONES),
    (spec.CSR_SSCRATCH, ONES, ONES),
    (spec.CSR_MEPC, ONES, ONES - 1),
    (spec.CSR_SEPC, ONES, ONES - 1),
    (spec.CSR_MCAUSE, ONES, ONES),
    (spec.CSR_SCAUSE, ONES, ONES),
    (spec.CSR_MTVAL, ONES, ONES),
    (spec.CSR_STVAL, ONES, ONES),
    (spec.CSR_STIMECMP, ONES, ONES),
    (spec.CSR_SATP, 8 << 60 | 0xFFFF << 44 | 5, 8 << 60 | 0xFFFF << 44 | 5),
    (spec.CSR_SATP, 10 << 60 | 5, 10 << 60 | 5),
    (spec.CSR_SATP, 11 << 60 | 5, 0),
    (spec.CSR_SATP, 1 << 60 | 5, 0),
    (spec.CSR_MHPMCOUNTER3, ONES, 0),
    (spec.CSR_MHPMCOUNTER31, ONES, 0),
    (spec.CSR_MHPMEVENT3, ONES, 0),
    (spec.CSR_MHPMEVENT31, ONES, 0),
]


@pytest.mark.parametrize(("number", "written", "held"), WARL)
def test_values_that_a_csr_can_hold(number: int, written: int, held: int) -> None:
    assert settle(number, written) == held


@pytest.mark.parametrize("number", [0xF11, 0xF12, 0xF13, 0xF14, 0xF15])
def test_information_registers_are_read_only(number: int) -> None:
    assert access(BareHart(), "csrrs", number, 1) is None
    hart = BareHart()
    assert hart.execute("csrrs", rd=5, csr=number, rs1=0) == OUTCOME_NEXT
    assert hart.execute("csrrci", rd=5, csr=number, uimm=0) == OUTCOME_NEXT
    assert hart.execute("csrrw", rd=0, csr=number, rs1=0) == OUTCOME_TRAP


EXISTING = {n for name, n in vars(spec).items() if name.startswith("CSR_")}
EXISTING |= set(range(0xB03, 0xB20)) | set(range(0x323, 0x340)) | set(range(0x3B0, 0x3C0))


def test_nothing_else_exists() -> None:
    hart = BareHart()
    hart.words[MSTATUS] |= FS_ON
    assert {n for n in range(4096) if read_csr(hart.h, n)} == EXISTING


@pytest.mark.parametrize("privilege", [PRIV_U, PRIV_S])
def test_privilege_of_the_number(privilege: int) -> None:
    for number in sorted(EXISTING):
        if number >> 8 & 3 > privilege:
            hart = BareHart()
            hart.enter(privilege)
            assert access(hart, "csrrs", number, 0) is None


@given(st.integers(0, 4095), st.integers(0, ONES), st.sampled_from(["csrrw", "csrrs", "csrrc"]))
def test_any_access_leaves_a_sound_state(number: int, value: int, name: str) -> None:
    hart = BareHart()
    hart.words[MSTATUS] |= FS_ON
    access(hart, name, number, value)
    assert hart.words[MSTATUS] >> 11 & 3 != 2
    assert hart.words[MSTATUS] & UXL_SXL == UXL_SXL
    assert hart.words[SATP] >> 60 in (0, 8, 9, 10)
    assert hart.words[X] == 0


def test_set_and_clear() -> None:
    hart = BareHart()
    access(hart, "csrrw", spec.CSR_MSCRATCH, 0b1100)
    assert access(hart, "csrrs", spec.CSR_MSCRATCH, 0b0110) == 0b1100
    assert access(hart, "csrrc", spec.CSR_MSCRATCH, 0b0100) == 0b1110
    assert access(hart, "csrrw", spec.CSR_MSCRATCH, 1) == 0b1010
    assert hart.execute("csrrwi", rd=5, csr=spec.CSR_MSCRATCH, uimm=31) == OUTCOME_NEXT
    assert hart.execute("csrrsi", rd=5, csr=spec.CSR_MSCRATCH, uimm=0) == OUTCOME_NEXT
    assert hart.x(5) == 31


def test_previous_privilege_of_2_is_not_held() -> None:
    hart = BareHart()
    access(hart, "csrrw", spec.CSR_MSTATUS, 1 << 11)
    access(hart, "csrrw", spec.CSR_MSTATUS, 2 << 11)
    assert hart.words[MSTATUS] >> 11 & 3 == 1


def test_sstatus_leaves_the_rest_of_mstatus() -> None:
    hart = BareHart()
    access(hart, "csrrw", spec.CSR_MSTATUS, ONES)
    access(hart, "csrrw", spec.CSR_SSTATUS, 0)
    assert hart.words[MSTATUS] == UXL_SXL | 0x7E79AA & ~0xC6122


@pytest.mark.parametrize("number", [spec.CSR_FFLAGS, spec.CSR_FRM, spec.CSR_FCSR])
def test_floating_csrs_need_fs_and_make_it_dirty(number: int) -> None:
    hart = BareHart()
    assert access(hart, "csrrs", number, 0) is None
    hart.words[MSTATUS] |= FS_ON
    assert access(hart, "csrrw", number, 1) == 0
    assert ("configure_float",) in hart.surroundings.calls
    assert hart.words[FS_DIRTY] == 1
    status = access(hart, "csrrs", spec.CSR_MSTATUS, 0)
    assert status is not None
    assert status & spec.MSTATUS_SD
    assert status & spec.MSTATUS_FS == spec.MSTATUS_FS
    access(hart, "csrrc", spec.CSR_MSTATUS, 1 << 14)
    assert hart.words[FS_DIRTY] == 0
    status = access(hart, "csrrs", spec.CSR_SSTATUS, 0)
    assert status is not None
    assert status & (spec.MSTATUS_FS | spec.MSTATUS_SD) == FS_ON


def test_fcsr_is_frm_above_fflags() -> None:
    hart = BareHart()
    hart.words[MSTATUS] |= FS_ON
    access(hart, "csrrw", spec.CSR_FCSR, 0xF5)
    assert access(hart, "csrrs", spec.CSR_FRM, 0) == 7
    assert access(hart, "csrrw", spec.CSR_FFLAGS, 2) == 0x15
    assert access(hart, "csrrw", spec.CSR_FRM, 1) == 7
    assert access(hart, "csrrs", spec.CSR_FCSR, 0) == 0x22
    assert hart.words[FFLAGS] == 2


def test_what_selects_a_mapping_is_told() -> None:
    hart = BareHart()
    calls = hart.surroundings.calls
    for number, value in [
        (spec.CSR_SATP, 8 << 60),
        (spec.CSR_MSTATUS, spec.MSTATUS_SUM),
        (spec.CSR_SSTATUS, FS_ON),
        (spec.CSR_FRM, 5),
        (spec.CSR_FRM, 0),
    ]:
        calls.clear()
        access(hart, "csrrw", number, value)
        assert ("translation_changed",) in calls, hex(number)
    for number in (spec.CSR_PMPADDR0, spec.CSR_PMPCFG0):
        calls.clear()
        access(hart, "csrrw", number, 1)
        assert ("flush_translations", None, None) in calls, hex(number)
    calls.clear()
    access(hart, "csrrs", spec.CSR_SSTATUS, spec.MSTATUS_SIE)
    assert calls == [], "enabling interrupts is frequent and changes no mapping"


def test_satp_under_tvm() -> None:
    hart = BareHart(PRIV_S)
    assert access(hart, "csrrs", spec.CSR_SATP, 0) is not None
    hart = BareHart()
    hart.enter(PRIV_S)
    hart.words[MSTATUS] |= spec.MSTATUS_TVM
    assert access(hart, "csrrs", spec.CSR_SATP, 0) is None
    hart.enter(PRIV_M)
    assert access(hart, "csrrs", spec.CSR_SATP, 0) is not None


@pytest.mark.parametrize(("bit", "number"), [(0, 0xC00), (1, 0xC01), (2, 0xC02)])
def test_counters_are_shown_by_counteren(bit: int, number: int) -> None:
    def readable(privilege: int, mcounteren: int, scounteren: int) -> bool:
        hart = BareHart()
        hart.enter(privilege)
        hart.words[MCOUNTEREN], hart.words[SCOUNTEREN] = mcounteren, scounteren
        return hart.execute("csrrs", rd=5, csr=number, rs1=0) == OUTCOME_NEXT

    mine, others = 1 << bit, 7 & ~(1 << bit)
    assert readable(PRIV_M, 0, 0)
    assert readable(PRIV_S, mine, 0)
    assert not readable(PRIV_S, others, 7)
    assert readable(PRIV_U, mine, mine)
    assert not readable(PRIV_U, 7, others)
    assert not readable(PRIV_U, others, 7)


def test_stimecmp_needs_stce_and_tm() -> None:
    for privilege, stce, tm, allowed in [
        (PRIV_M, 0, 0, True),
        (PRIV_S, 1, 1, True),
        (PRIV_S, 0, 1, False),
        (PRIV_S, 1, 0, False),
        (PRIV_U, 1, 1, False),
    ]:
        hart = BareHart()
        hart.enter(privilege)
        hart.words[MENVCFG] = stce << 63
        hart.words[MCOUNTEREN] = tm << 1
        assert (access(hart, "csrrw", spec.CSR_STIMECMP, 5) is not None) == allowed


def test_counters_count_instructions_and_can_be_written() -> None:
    hart = BareHart()
    hart.words[SLICE], hart.words[BUDGET] = 100, 60
    hart.execute("csrrs", rd=5, csr=0xC02, rs1=0)
    assert hart.x(5) == 40
    assert access(hart, "csrrw", spec.CSR_MCYCLE, 1000) == 40
    hart.words[BUDGET] -= 1
    hart.execute("csrrs", rd=5, csr=0xC00, rs1=0)
    assert hart.x(5) == 1000, "the next instruction reads what was written"
    hart.execute("csrrs", rd=5, csr=0xC02, rs1=0)
    assert hart.x(5) == 41, "minstret is another counter"


def test_inhibited_counters_stand_still() -> None:
    hart = BareHart()
    hart.words[SLICE], hart.words[BUDGET] = 100, 90
    access(hart, "csrrw", spec.CSR_MCOUNTINHIBIT, 1)
    hart.words[BUDGET] = 50
    assert access(hart, "csrrs", spec.CSR_MCYCLE, 0) == 11
    assert access(hart, "csrrs", spec.CSR_MINSTRET, 0) == 50
    access(hart, "csrrw", spec.CSR_MCYCLE, 7)
    access(hart, "csrrw", spec.CSR_MCOUNTINHIBIT, 0)
    hart.words[BUDGET] -= 1
    assert access(hart, "csrrs", spec.CSR_MCYCLE, 0) == 7


def test_time_is_the_clock_or_counts_instructions() -> None:
    hart = BareHart()
    hart.surroundings.time_ns = 12_345
    hart.words[TIME_OFFSET] = 1000
    hart.execute("csrrs", rd=5, csr=spec.CSR_TIME, rs1=0)
    assert hart.x(5) == 1123
    hart.words[VIRTUAL_CLOCK] = 8
    hart.words[SLICE], hart.words[BUDGET] = 100, 60
    hart.execute("csrrs", rd=5, csr=spec.CSR_TIME, rs1=0)
    assert hart.x(5) == 1005


def test_pending_bits_from_software_devices_and_mail() -> None:
    hart = BareHart()
    hart.words[IRQ_LINES] = spec.MIP_SEIP | spec.MIP_MSIP
    assert access(hart, "csrrc", spec.CSR_MIP, ONES) == spec.MIP_SEIP | spec.MIP_MSIP
    assert access(hart, "csrrs", spec.CSR_MIP, 0) == spec.MIP_SEIP | spec.MIP_MSIP, "lines stay"
    hart.words[IRQ_LINES] = 0
    assert access(hart, "csrrw", spec.CSR_MIP, ONES) == 0, "setting a line's bit did not latch it"
    assert access(hart, "csrrs", spec.CSR_MIP, 0) == spec.MIP_SUPERVISOR
    access(hart, "csrrw", spec.CSR_MIP, 0)
    hart.words[IPI_MAIL] = 1
    assert access(hart, "csrrs", spec.CSR_MIP, 0) == spec.MIP_SSIP
    assert hart.words[IPI_MAIL] == 0
    assert access(hart, "csrrc", spec.CSR_MIP, spec.MIP_SSIP) == spec.MIP_SSIP
    assert access(hart, "csrrs", spec.CSR_MIP, 0) == 0


def test_modifying_mip_does_not_latch_lines() -> None:
    hart = BareHart()
    hart.words[IRQ_LINES] = spec.MIP_SEIP
    access(hart, "csrrs", spec.CSR_MIP, spec.MIP_SSIP)
    assert hart.words[MIP] == spec.MIP_SSIP


def test_supervisor_timer_bit_belongs_to_stimecmp_under_stce() -> None:
    hart = BareHart()
    access(hart, "csrrw", spec.CSR_MIP, spec.MIP_STIP)
    assert access(hart, "csrrw", spec.CSR_MENVCFG, spec.MENVCFG_STCE) is not None
    assert access(hart, "csrrw", spec.CSR_MIP, spec.MIP_STIP) == 0
    assert access(hart, "csrrs", spec.CSR_MIP, 0) == 0
    hart.words[STIMECMP] = 10
    hart.surroundings.time_ns = 1000
    assert access(hart, "csrrs", spec.CSR_MIP, 0) == spec.MIP_STIP


def test_sie_and_sip_show_what_is_delegated() -> None:
    hart = BareHart()
    hart.words[MIDELEG] = spec.MIP_SSIP | spec.MIP_SEIP
    hart.words[MIE] = spec.MIP_MTIP
    access(hart, "csrrw", spec.CSR_SIE, ONES)
    assert hart.words[MIE] == spec.MIP_MTIP | spec.MIP_SSIP | spec.MIP_SEIP
    hart.words[MIP] = spec.MIP_SUPERVISOR
    assert access(hart, "csrrw", spec.CSR_SIP, 0) == spec.MIP_SSIP | spec.MIP_SEIP
    assert hart.words[MIP] == spec.MIP_STIP | spec.MIP_SEIP, "only SSIP is writable in sip"
