# SPDX-License-Identifier: Apache-2.0
"""System instructions as the guest executes them, one at a time."""

from __future__ import annotations

import pytest

from innkeeper.engines.engine import ExitReason
from innkeeper.isa.riscv import privileged
from innkeeper.isa.riscv.decoder import decode
from innkeeper.isa.riscv.state import (
    ECALL_EXITS,
    IRQ_LINES,
    MCAUSE,
    MENVCFG,
    MEPC,
    MIE,
    MSTATUS,
    MTVAL,
    OUTCOME_EXIT,
    OUTCOME_NEXT,
    OUTCOME_TRAP,
    PC,
    PRIV,
    SENVCFG,
    X,
)
from innkeeper.isa.riscv.traps import return_from_machine
from innkeeper.spec import riscv as spec
from innkeeper.spec.riscv import PRIV_M, PRIV_S, PRIV_U
from tests.unit.isa.riscv.bare_hart import CODE, RAM_BASE, BareHart

DATA = RAM_BASE + 0x1_0000


def hart_in(privilege: int) -> BareHart:
    hart = BareHart()
    hart.enter(privilege)
    return hart


def trapped(hart: BareHart, outcome: int, cause: int, tval: int | None = None) -> bool:
    right = outcome == OUTCOME_TRAP and hart.words[MCAUSE] == cause and hart.words[MEPC] == CODE
    return right and (tval is None or hart.words[MTVAL] == tval)


def test_exit_numbers_are_those_of_the_engine_protocol() -> None:
    assert privileged.EXIT_IDLE == OUTCOME_EXIT + ExitReason.IDLE
    assert privileged.EXIT_ECALL == OUTCOME_EXIT + ExitReason.ECALL


@pytest.mark.parametrize(("privilege", "cause"), [(PRIV_U, 8), (PRIV_S, 9), (PRIV_M, 11)])
def test_ecall(privilege: int, cause: int) -> None:
    hart = hart_in(privilege)
    assert trapped(hart, hart.execute("ecall"), cause, 0)
    hart = hart_in(privilege)
    hart.words[ECALL_EXITS] = 1
    outcome = hart.execute("ecall")
    if privilege == PRIV_S:
        assert outcome == OUTCOME_EXIT + ExitReason.ECALL
        assert hart.words[PC] == CODE
    else:
        assert trapped(hart, outcome, cause)


def test_ebreak() -> None:
    hart = hart_in(PRIV_S)
    assert trapped(hart, hart.execute("ebreak"), 3, CODE)


def test_wfi() -> None:
    for privilege, status, allowed in [
        (PRIV_M, spec.MSTATUS_TW, True),
        (PRIV_S, 0, True),
        (PRIV_S, spec.MSTATUS_TW, False),
        (PRIV_U, 0, False),
    ]:
        hart = hart_in(privilege)
        hart.words[MSTATUS] |= status
        outcome = hart.execute("wfi")
        if allowed:
            assert outcome == OUTCOME_EXIT + ExitReason.IDLE
            assert hart.words[PC] == CODE + 4
        else:
            assert trapped(hart, outcome, 2)


def test_wfi_goes_on_with_an_interrupt_that_is_enabled_in_mie_only() -> None:
    hart = hart_in(PRIV_M)
    hart.words[IRQ_LINES] = spec.MIP_SEIP
    assert hart.execute("wfi") == OUTCOME_EXIT + ExitReason.IDLE
    hart.words[MIE] = spec.MIP_SEIP
    assert hart.execute("wfi") == OUTCOME_NEXT


@pytest.mark.parametrize("name", ["sfence.vma", "sinval.vma"])
def test_fences_of_translations(name: str) -> None:
    for rs1, rs2, told in [
        (0, 0, (None, None)),
        (5, 0, (0x1234_5000, None)),
        (0, 6, (None, 0x2345)),
        (5, 6, (0x1234_5000, 0x2345)),
    ]:
        hart = hart_in(PRIV_S)
        hart.words[X + 5], hart.words[X + 6] = 0x1234_5000, 0xFFF_2345
        assert hart.execute(name, rs1=rs1, rs2=rs2) == OUTCOME_NEXT
        assert hart.surroundings.calls == [("flush_translations", *told)]
        assert hart.words[PC] == CODE + 4
    for privilege, status in [(PRIV_U, 0), (PRIV_S, spec.MSTATUS_TVM)]:
        hart = hart_in(privilege)
        hart.words[MSTATUS] |= status
        assert trapped(hart, hart.execute(name), 2)
        assert ("flush_translations", None, None) not in hart.surroundings.calls


@pytest.mark.parametrize("name", ["sfence.w.inval", "sfence.inval.ir"])
def test_fences_around_sinval(name: str) -> None:
    hart = hart_in(PRIV_U)
    assert trapped(hart, hart.execute(name), 2)
    hart = hart_in(PRIV_S)
    hart.words[MSTATUS] |= spec.MSTATUS_TVM
    assert hart.execute(name) == OUTCOME_NEXT


def test_fence_i_tells_the_engine() -> None:
    hart = hart_in(PRIV_U)
    assert hart.execute("fence.i") == OUTCOME_NEXT
    assert hart.surroundings.calls == [("flush_code",)]


@pytest.mark.parametrize("name", ["wrs.nto", "wrs.sto"])
def test_waiting_on_a_reservation_ends_at_once(name: str) -> None:
    hart = hart_in(PRIV_U)
    assert hart.execute(name) == OUTCOME_NEXT
    assert hart.words[PC] == CODE + 4


CACHE_BLOCK = [
    ("cbo.inval", 0x10),
    ("cbo.inval", 0x30),
    ("cbo.clean", 0x40),
    ("cbo.flush", 0x40),
    ("cbo.zero", 0x80),
]


@pytest.mark.parametrize(("name", "bits"), CACHE_BLOCK)
def test_cache_block_instructions_are_enabled_by_envcfg(name: str, bits: int) -> None:
    for privilege, menvcfg, senvcfg, allowed in [
        (PRIV_M, 0, 0, True),
        (PRIV_S, bits, 0, True),
        (PRIV_S, ~bits & 0xF0 & ~(0x30 if bits & 0x30 else 0), 0xF0, False),
        (PRIV_U, bits, bits, True),
        (PRIV_U, bits, 0, False),
        (PRIV_U, 0, bits, False),
    ]:
        hart = hart_in(privilege)
        hart.words[MENVCFG], hart.words[SENVCFG] = menvcfg, senvcfg
        hart.words[X + 5] = DATA + 8
        outcome = hart.execute(name, rs1=5)
        assert outcome == OUTCOME_NEXT if allowed else trapped(hart, outcome, 2)


def test_cbo_zero_clears_the_aligned_block() -> None:
    hart = hart_in(PRIV_M)
    hart.ram.buffer[0x1_0000:0x1_0100] = b"\xff" * 0x100
    hart.words[X + 5] = DATA + 0x7F
    assert hart.execute("cbo.zero", rs1=5) == OUTCOME_NEXT
    assert bytes(hart.ram.buffer[0x1_0000:0x1_0100]) == b"\xff" * 64 + bytes(64) + b"\xff" * 128


def test_cbo_zero_outside_ram_is_an_access_fault() -> None:
    for address in (0x1000_0000, RAM_BASE - 64, RAM_BASE + (1 << 20)):
        hart = hart_in(PRIV_M)
        hart.words[X + 5] = address + 9
        assert trapped(hart, hart.execute("cbo.zero", rs1=5), 7, address + 9)


@pytest.mark.parametrize(("permissions", "works"), [(1, True), (3, True), (0, False), (4, False)])
def test_cache_block_management_needs_load_or_store(permissions: int, works: bool) -> None:
    hart = hart_in(PRIV_M)
    hart.words[X + 5] = CODE
    hart.execute("csrrw", csr=spec.CSR_PMPADDR0, rs1=5)
    page = DATA
    hart.words[X + 6] = page >> 2 | 0x1FF
    hart.words[PC] = CODE
    hart.execute("csrrw", csr=spec.CSR_PMPADDR0, rs1=6)
    hart.words[PC] = CODE
    hart.words[X + 6] = (1 << 54) - 1
    hart.execute("csrrw", csr=spec.CSR_PMPADDR0 + 1, rs1=6)
    hart.words[PC] = CODE
    hart.words[X + 6] = 0x1F00 | 0x18 | permissions
    hart.execute("csrrw", csr=spec.CSR_PMPCFG0, rs1=6)
    hart.words[MENVCFG] = 0xF0
    hart.words[PRIV], hart.words[PC] = PRIV_S, CODE
    hart.words[X + 5] = DATA + 5
    outcome = hart.execute("cbo.flush", rs1=5)
    assert outcome == OUTCOME_NEXT if works else trapped(hart, outcome, 7, DATA + 5)


def test_mret_leads_to_the_exception_pc() -> None:
    hart = hart_in(PRIV_M)
    hart.words[MEPC] = DATA
    assert hart.execute("mret") == OUTCOME_NEXT
    assert (hart.words[PC], hart.words[PRIV]) == (DATA, PRIV_U)
    assert return_from_machine(hart.h) == OUTCOME_TRAP


@pytest.mark.parametrize(
    "bits", [0x0000_0073 | 1 << 7, 0x0010_0073 | 1 << 15, 0x1020_00F3, 0x7FF0_0073, 0x0000_4073]
)
def test_neighbours_in_the_system_opcode_are_illegal(bits: int) -> None:
    assert decode(bits) is None
