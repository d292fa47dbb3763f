# SPDX-License-Identifier: Apache-2.0
"""Memory accesses of single instructions: misaligned, page-crossing, atomic, outside RAM."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.engines.engine import ExitReason
from innkeeper.engines.reference.access import ATOMIC
from innkeeper.engines.reference.step import step
from innkeeper.isa.riscv.state import (
    EXIT_ADDRESS,
    EXIT_SIZE,
    EXIT_VALUE,
    FAULT_TVAL,
    MCAUSE,
    MEDELEG,
    MEPC,
    MSTATUS,
    MTVAL,
    NO_RESERVATION,
    OUTCOME_EXIT,
    OUTCOME_NEXT,
    OUTCOME_TRAP,
    PC,
    RESERVATION,
    SATP,
    X,
)
from innkeeper.spec.riscv import PRIV_S
from tests.unit.isa.riscv.bare_hart import CODE, RAM_BASE, RAM_BYTES, BareHart, encode

DATA = RAM_BASE + 0x1_0000
END = RAM_BASE + RAM_BYTES
NAMES = {1: ("lbu", "sb"), 2: ("lhu", "sh"), 4: ("lwu", "sw"), 8: ("ld", "sd")}
MMIO_READ = OUTCOME_EXIT + ExitReason.MMIO_READ
MMIO_WRITE = OUTCOME_EXIT + ExitReason.MMIO_WRITE


def run(hart: BareHart, name: str, **fields: int) -> int:
    """Execute at CODE again."""
    hart.words[PC] = CODE
    return hart.execute(name, **fields)


def trap(hart: BareHart) -> tuple[int, int]:
    assert hart.words[MEPC] == CODE
    return hart.words[MCAUSE], hart.words[MTVAL]


@pytest.mark.parametrize("size_bytes", [1, 2, 4, 8])
@pytest.mark.parametrize("offset", [0, 1, 3, 5, 0xFF9, 0xFFF])
def test_loads_and_stores_at_any_address(size_bytes: int, offset: int) -> None:
    hart = BareHart()
    load, store = NAMES[size_bytes]
    hart.words[X + 1], hart.words[X + 2] = DATA + offset, 0x8899_AABB_CCDD_EEFF
    assert run(hart, store, rs1=1, rs2=2) == OUTCOME_NEXT
    expected = 0x8899_AABB_CCDD_EEFF & (1 << size_bytes * 8) - 1
    assert hart.ram.get(DATA + offset, 16) == expected
    assert run(hart, load, rd=3, rs1=1) == OUTCOME_NEXT
    assert hart.x(3) == expected


def paged(second: int) -> BareHart:
    """S-mode, Sv39: virtual page 0x40000 to DATA, 0x40001 to `second` (0: not mapped), code by a gigapage."""
    hart = BareHart(PRIV_S)
    hart.words[MEDELEG] = 0
    root, middle, last = (RAM_BASE + n for n in (0x4000, 0x5000, 0x6000))
    hart.ram.put(root + 2 * 8, RAM_BASE >> 12 << 10 | 0xCF)
    hart.ram.put(root + 1 * 8, middle >> 12 << 10 | 1)
    hart.ram.put(middle, last >> 12 << 10 | 1)
    hart.ram.put(last, DATA >> 12 << 10 | 0xC7)
    hart.ram.put(last + 8, second >> 12 << 10 | 0xC7 if second else 0)
    hart.words[SATP] = 8 << 60 | root >> 12
    hart.words[X + 1] = 0x4000_0FFD
    return hart


def test_a_crossing_access_uses_both_translations() -> None:
    hart = paged(DATA + 0x8000)
    hart.words[X + 2] = 0x1122_3344_5566_7788
    assert run(hart, "sd", rs1=1, rs2=2) == OUTCOME_NEXT
    assert hart.ram.get(DATA + 0xFFD, 3) == 0x66_7788
    assert hart.ram.get(DATA + 0x8000, 8) == 0x11_2233_4455
    assert run(hart, "ld", rd=3, rs1=1) == OUTCOME_NEXT
    assert hart.x(3) == 0x1122_3344_5566_7788


def test_a_crossing_store_that_faults_writes_nothing() -> None:
    hart = paged(0)
    hart.words[X + 2] = (1 << 64) - 1
    assert run(hart, "sd", rs1=1, rs2=2) == OUTCOME_TRAP
    assert trap(hart) == (15, 0x4000_1000)
    assert hart.ram.get(DATA + 0xFF8, 8) == 0


@pytest.mark.parametrize(("name", "cause"), [("ld", 5), ("sd", 7)])
def test_a_misaligned_access_into_a_device_is_an_access_fault(name: str, cause: int) -> None:
    hart = paged(0x1000_0000)
    register = {"rd": 3} if name == "ld" else {"rs2": 3}
    assert run(hart, name, rs1=1, **register) == OUTCOME_TRAP
    assert trap(hart) == (cause, 0x4000_1000), "the part that faults"
    hart.enter(PRIV_S)
    hart.words[X + 1] = 0x4000_1001
    assert run(hart, name, rs1=1, **register) == OUTCOME_TRAP
    assert trap(hart) == (cause, 0x4000_1001)


def test_an_instruction_across_pages_faults_at_its_second_half() -> None:
    hart = paged(0)
    last = RAM_BASE + 0x6000
    hart.ram.put(last, DATA >> 12 << 10 | 0xCF)
    hart.ram.put(DATA + 0xFFE, encode("addi", rd=1, imm=1) & 0xFFFF, 2)
    hart.words[PC] = 0x4000_0FFE
    assert step(hart.h, hart.surroundings) == OUTCOME_TRAP
    assert (hart.words[MCAUSE], hart.words[MTVAL], hart.words[MEPC]) == (12, 0x4000_1000, 0x4000_0FFE)
    hart.ram.put(last + 8, (DATA + 0x8000) >> 12 << 10 | 0xCF)
    hart.ram.put(DATA + 0x8000, encode("addi", rd=1, imm=1) >> 16, 2)
    hart.enter(PRIV_S)
    hart.words[PC] = 0x4000_0FFE
    before = hart.x(1)
    assert step(hart.h, hart.surroundings) == OUTCOME_NEXT
    assert (hart.x(1), hart.words[PC]) == (1, 0x4000_1002)
    assert before != 1


@pytest.mark.parametrize("address", [0, 0x1000_0000, RAM_BASE - 4, END])
def test_fetch_outside_ram(address: int) -> None:
    hart = BareHart()
    hart.words[PC] = address
    assert step(hart.h, hart.surroundings) == OUTCOME_TRAP
    assert (hart.words[MCAUSE], hart.words[MTVAL], hart.words[MEPC]) == (1, address, address)


@pytest.mark.parametrize("size_bytes", [1, 2, 4, 8])
def test_device_accesses_leave(size_bytes: int) -> None:
    hart = BareHart()
    load, store = NAMES[size_bytes]
    address = 0x1000_0000 + size_bytes
    hart.words[X + 1], hart.words[X + 2] = address, (1 << 64) - 1
    ones = (1 << size_bytes * 8) - 1
    assert run(hart, store, rs1=1, rs2=2) == MMIO_WRITE
    assert hart.words[PC] == CODE + 4
    words = hart.words
    assert (words[EXIT_ADDRESS], words[EXIT_SIZE], words[EXIT_VALUE]) == (address, size_bytes, ones)
    assert run(hart, load, rd=3, rs1=1) == MMIO_READ
    assert words[PC] == CODE
    assert (words[EXIT_ADDRESS], words[EXIT_SIZE], words[FAULT_TVAL]) == (address, size_bytes, address)
    assert step(hart.h, hart.surroundings, answer=ones) == OUTCOME_NEXT
    assert (hart.x(3), words[PC]) == (ones, CODE + 4)
    if size_bytes > 1:
        hart.words[X + 1] += 1
        assert run(hart, load, rd=3, rs1=1) == OUTCOME_TRAP
        assert trap(hart) == (5, address + 1)
        assert run(hart, store, rs1=1, rs2=2) == OUTCOME_TRAP
        assert trap(hart) == (7, address + 1)


@pytest.mark.parametrize(("address", "outside"), [(RAM_BASE - 4, RAM_BASE - 4), (END - 4, END)])
def test_half_in_ram_is_not_in_ram(address: int, outside: int) -> None:
    hart = BareHart()
    hart.words[X + 1] = address
    assert run(hart, "ld", rd=3, rs1=1) == OUTCOME_TRAP
    assert trap(hart) == (5, outside)


def test_reservation() -> None:
    hart = BareHart()
    hart.words[X + 1], hart.words[X + 2] = DATA, 77
    hart.ram.put(DATA, 0xFFFF_FFFF_8000_0000)

    def conditional(name: str) -> int:
        assert run(hart, name, rd=4, rs1=1, rs2=2) == OUTCOME_NEXT
        return hart.x(4)

    assert conditional("sc.w") == 1, "nothing is reserved"
    assert run(hart, "lr.w", rd=3, rs1=1) == OUTCOME_NEXT
    assert hart.x(3) == 0xFFFF_FFFF_8000_0000, "sign-extended"
    assert conditional("sc.w") == 0
    assert hart.ram.get(DATA) == 0xFFFF_FFFF_0000_004D
    assert conditional("sc.w") == 1, "a reservation is used up"
    run(hart, "lr.d", rd=3, rs1=1)
    hart.ram.put(DATA, 5)
    assert conditional("sc.d") == 1, "memory changed"
    assert hart.ram.get(DATA) == 5
    run(hart, "lr.d", rd=3, rs1=1)
    hart.words[X + 1] += 8
    assert conditional("sc.d") == 1, "another address"
    assert hart.words[RESERVATION] == NO_RESERVATION


def test_a_trap_keeps_the_reservation() -> None:
    hart = BareHart()
    hart.words[X + 1] = DATA
    run(hart, "lr.w", rd=3, rs1=1)
    run(hart, "ebreak")
    run(hart, "sc.w", rd=4, rs1=1, rs2=2)
    assert hart.x(4) == 0


@pytest.mark.parametrize(("name", "misaligned", "access"), [
    ("lr.w", 4, 5), ("lr.d", 4, 5), ("sc.w", 6, 7), ("sc.d", 6, 7), ("amoadd.w", 6, 7), ("amoadd.d", 6, 7),
])  # fmt: skip
def test_atomics_are_aligned_and_in_ram(name: str, misaligned: int, access: int) -> None:
    hart = BareHart()
    fields = {"rd": 3, "rs1": 1} | ({} if name.startswith("lr") else {"rs2": 2})
    hart.words[X + 1] = DATA + 2
    assert run(hart, name, **fields) == OUTCOME_TRAP
    assert trap(hart) == (misaligned, DATA + 2)
    for address in (0x1000_0000, END):
        hart.words[X + 1] = address
        assert run(hart, name, **fields) == OUTCOME_TRAP
        assert trap(hart) == (access, address)


def signed(value: int, width: int) -> int:
    return value - (1 << width) if value >> width - 1 else value


@given(
    st.sampled_from(sorted(ATOMIC)),
    st.sampled_from(["w", "d"]),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, (1 << 64) - 1),
)
def test_atomic_operations(operation: str, size: str, before: int, operand: int) -> None:
    width = 32 if size == "w" else 64
    hart = BareHart()
    hart.ram.put(DATA, before)
    hart.words[X + 1], hart.words[X + 2] = DATA, operand
    assert run(hart, f"amo{operation}.{size}", rd=3, rs1=1, rs2=2) == OUTCOME_NEXT
    mask = (1 << width) - 1
    a, b = before & mask, operand & mask
    expected = {
        "swap": b,
        "add": a + b & mask,
        "and": a & b,
        "or": a | b,
        "xor": a ^ b,
        "min": min(signed(a, width), signed(b, width)) & mask,
        "max": max(signed(a, width), signed(b, width)) & mask,
        "minu": min(a, b),
        "maxu": max(a, b),
    }[operation]
    assert hart.ram.get(DATA) == before & ~mask | expected
    assert hart.x(3) == signed(a, width) & (1 << 64) - 1


def test_a_load_that_faults_leaves_its_register() -> None:
    hart = BareHart()
    hart.words[X + 1] = hart.words[X + 3] = 1 << 56
    assert run(hart, "ld", rd=3, rs1=1) == OUTCOME_TRAP
    assert trap(hart) == (5, 1 << 56)
    assert hart.x(3) == 1 << 56


def test_floating_point_needs_fs_and_a_valid_rounding_mode() -> None:
    hart = BareHart()
    for name, fields in [("fadd.s", {"rm": 0}), ("fsgnj.d", {}), ("flw", {}), ("fsd", {}), ("fmv.x.d", {})]:
        assert run(hart, name, **fields) == OUTCOME_TRAP
        assert trap(hart) == (2, encode(name, **fields))
    hart.words[MSTATUS] |= 1 << 13
    hart.words[X + 5] = 5
    assert run(hart, "csrrw", csr=2, rs1=5) == OUTCOME_NEXT
    assert run(hart, "fadd.s", rm=7) == OUTCOME_TRAP
    assert trap(hart)[0] == 2
    assert run(hart, "fadd.s", rm=4) == OUTCOME_NEXT
    assert run(hart, "fsgnj.s") == OUTCOME_NEXT
