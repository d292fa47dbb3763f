# SPDX-License-Identifier: Apache-2.0
"""The page walk: each rule of the specification, and arbitrary tables that must never lead out of RAM."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.isa.riscv.pmp import pmp_changed
from innkeeper.isa.riscv.state import (
    FAULT_CAUSE,
    FAULT_TVAL,
    LEAF_PTE,
    LEAF_SHIFT,
    MENVCFG,
    MSTATUS,
    PMPADDR,
    PMPCFG,
    PRIV,
    RESULT,
    SATP,
)
from innkeeper.isa.riscv.translation import FETCH, LOAD, STORE, translate
from innkeeper.spec.riscv import (
    MENVCFG_ADUE,
    MSTATUS_MPP_SHIFT,
    MSTATUS_MPRV,
    MSTATUS_MXR,
    MSTATUS_SUM,
    PRIV_M,
    PRIV_S,
    PRIV_U,
    PTE_A,
    PTE_D,
    PTE_G,
    PTE_R,
    PTE_U,
    PTE_V,
    PTE_W,
    PTE_X,
)
from tests.unit.isa.riscv.bare_hart import RAM_BASE, RAM_BYTES, BareHart, Surroundings

PAGE_FAULT = {FETCH: 12, LOAD: 13, STORE: 15}
ACCESS_FAULT = {FETCH: 1, LOAD: 5, STORE: 7}
LEVELS = {8: 3, 9: 4, 10: 5}
ROOT = RAM_BASE + 0x4000
TARGET = RAM_BASE + 0x2_0000
ALL = PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D


def pte(address: int, flags: int) -> int:
    return address >> 12 << 10 | flags


def mapped(leaf_flags: int, *, mode: int = 8, va: int = 0x1234_5678, level: int = 0) -> BareHart:
    """An S-mode hart whose tables map the page of `va` to TARGET by a leaf on `level`."""
    hart = BareHart(PRIV_S)
    hart.words[SATP] = mode << 60 | ROOT >> 12
    table = ROOT
    for i in range(LEVELS[mode] - 1, level, -1):
        hart.ram.put(table + (va >> 12 + 9 * i & 511) * 8, pte(table + 0x1000, PTE_V))
        table += 0x1000
    hart.ram.put(table + (va >> 12 + 9 * level & 511) * 8, pte(TARGET, leaf_flags))
    return hart


def leaf_address(va: int, mode: int = 8) -> int:
    return ROOT + (LEVELS[mode] - 1) * 0x1000 + (va >> 12 & 511) * 8


VA = 0x1234_5678


@pytest.mark.parametrize("mode", [8, 9, 10])
@pytest.mark.parametrize("access", [FETCH, LOAD, STORE])
def test_walk_in_every_mode(mode: int, access: int) -> None:
    hart = mapped(ALL, mode=mode)
    assert translate(hart.h, VA, access) == 0
    assert hart.words[RESULT] == TARGET | VA & 0xFFF
    assert hart.words[LEAF_PTE] == pte(TARGET, ALL)
    assert hart.words[LEAF_SHIFT] == 12


@pytest.mark.parametrize("mode", [8, 9, 10])
def test_addresses_above_the_mode_must_be_sign_extended(mode: int) -> None:
    bits = 12 + 9 * LEVELS[mode]
    high = (1 << 64) - (1 << bits - 1)
    hart = mapped(ALL, mode=mode, va=high)
    assert translate(hart.h, high, LOAD) == 0
    for wrong in (high ^ 1 << 63, high ^ 1 << bits, 1 << bits - 1, 1 << 63):
        assert translate(hart.h, wrong, LOAD) == PAGE_FAULT[LOAD]
        assert hart.words[FAULT_TVAL] == wrong


@pytest.mark.parametrize("privilege", [PRIV_M, PRIV_S])
def test_bare_addresses_are_physical_and_have_56_bits(privilege: int) -> None:
    hart = BareHart(privilege)
    for address in (0, RAM_BASE + 5, (1 << 56) - 1):
        assert translate(hart.h, address, LOAD) == 0
        assert hart.words[RESULT] == address
    assert translate(hart.h, 1 << 56, STORE) == ACCESS_FAULT[STORE]


def test_machine_mode_ignores_satp() -> None:
    hart = mapped(0)
    hart.words[PRIV] = PRIV_M
    assert translate(hart.h, VA, FETCH) == 0
    assert hart.words[RESULT] == VA


@pytest.mark.parametrize(
    "flags",
    [
        0,
        ALL & ~PTE_V,
        PTE_V | PTE_W | PTE_A | PTE_D,
        PTE_V | PTE_W | PTE_X | PTE_A | PTE_D,
        PTE_V,
        *(ALL | 1 << bit for bit in range(54, 64)),
    ],
)
def test_invalid_and_reserved_leaves_fault(flags: int) -> None:
    for access in (FETCH, LOAD, STORE):
        assert translate(mapped(flags).h, VA, access) == PAGE_FAULT[access]


@pytest.mark.parametrize("flag", [PTE_D, PTE_A, PTE_U, 1 << 61, 1 << 63, 1 << 54])
def test_reserved_bits_of_a_pointer_fault(flag: int) -> None:
    hart = mapped(ALL)
    at = ROOT + (VA >> 30 & 511) * 8
    hart.ram.put(at, hart.ram.get(at) | flag)
    assert translate(hart.h, VA, LOAD) == PAGE_FAULT[LOAD]
    hart.ram.put(at, hart.ram.get(at) & ~flag | PTE_G)
    assert translate(hart.h, VA, LOAD) == 0


@pytest.mark.parametrize(("level", "size_bits"), [(1, 21), (2, 30)])
def test_superpages(level: int, size_bits: int) -> None:
    hart = mapped(ALL, level=level)
    assert translate(hart.h, VA, LOAD) == PAGE_FAULT[LOAD], "TARGET is not aligned to the superpage"
    at = ROOT + (2 - level) * 0x1000 + (VA >> size_bits & 511) * 8
    hart.ram.put(at, pte(0x4000_0000, ALL))
    assert translate(hart.h, VA, LOAD) == 0
    assert hart.words[RESULT] == 0x4000_0000 | VA & (1 << size_bits) - 1
    assert hart.words[LEAF_SHIFT] == size_bits


@pytest.mark.parametrize(
    ("flags", "status", "privilege", "allowed"),
    [
        (PTE_R, 0, PRIV_S, {LOAD}),
        (PTE_X, 0, PRIV_S, {FETCH}),
        (PTE_X, MSTATUS_MXR, PRIV_S, {FETCH, LOAD}),
        (PTE_R | PTE_W, 0, PRIV_S, {LOAD, STORE}),
        (PTE_R | PTE_W | PTE_X, 0, PRIV_U, set()),
        (PTE_R | PTE_W | PTE_X | PTE_U, 0, PRIV_U, {FETCH, LOAD, STORE}),
        (PTE_R | PTE_W | PTE_X | PTE_U, 0, PRIV_S, set()),
        (PTE_R | PTE_W | PTE_X | PTE_U, MSTATUS_SUM, PRIV_S, {LOAD, STORE}),
        (PTE_X | PTE_U, MSTATUS_SUM, PRIV_S, set()),
        (PTE_X | PTE_U, MSTATUS_SUM | MSTATUS_MXR, PRIV_S, {LOAD}),
        (PTE_X | PTE_U, MSTATUS_MXR, PRIV_U, {FETCH, LOAD}),
    ],
)
def test_permissions(flags: int, status: int, privilege: int, allowed: set[int]) -> None:
    for access in (FETCH, LOAD, STORE):
        hart = mapped(PTE_V | PTE_A | PTE_D | flags)
        hart.words[MSTATUS] |= status
        hart.words[PRIV] = privilege
        expected = 0 if access in allowed else PAGE_FAULT[access]
        assert translate(hart.h, VA, access) == expected
        if expected:
            assert (hart.words[FAULT_CAUSE], hart.words[FAULT_TVAL]) == (expected, VA)


def test_mprv_translates_loads_and_stores_as_mpp_does() -> None:
    hart = mapped(ALL | PTE_U)
    hart.words[PRIV] = PRIV_M
    hart.words[MSTATUS] |= MSTATUS_MPRV | PRIV_U << MSTATUS_MPP_SHIFT
    assert translate(hart.h, VA, LOAD) == 0
    assert hart.words[RESULT] == TARGET | VA & 0xFFF
    assert translate(hart.h, VA, FETCH) == 0
    assert hart.words[RESULT] == VA, "fetches do not follow MPRV"
    hart.words[MSTATUS] |= PRIV_S << MSTATUS_MPP_SHIFT
    assert translate(hart.h, VA, STORE) == PAGE_FAULT[STORE]
    hart.words[MSTATUS] |= PRIV_M << MSTATUS_MPP_SHIFT
    assert translate(hart.h, VA, STORE) == 0
    assert hart.words[RESULT] == VA


@pytest.mark.parametrize("access", [FETCH, LOAD, STORE])
def test_accessed_and_dirty_by_hardware_or_by_fault(access: int) -> None:
    bare = ALL & ~PTE_A & ~PTE_D
    used = bare | PTE_A | (PTE_D if access == STORE else 0)
    hart = mapped(bare)
    hart.words[MENVCFG] |= MENVCFG_ADUE
    assert translate(hart.h, VA, access) == 0
    assert hart.ram.get(leaf_address(VA)) == hart.words[LEAF_PTE] == pte(TARGET, used)
    hart = mapped(bare)
    hart.words[MENVCFG] &= ~MENVCFG_ADUE
    assert translate(hart.h, VA, access) == PAGE_FAULT[access]
    assert hart.ram.get(leaf_address(VA)) == pte(TARGET, bare)


def test_a_pte_that_changes_under_the_update_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hart = mapped(ALL & ~PTE_D)
    tries = []

    def contended(self: Surroundings, address: int, size_bytes: int, old: int, new: int) -> bool:
        tries.append(address)
        hart.ram.put(address, 0)
        return False

    monkeypatch.setattr(Surroundings, "cas", contended)
    assert translate(hart.h, VA, STORE) == PAGE_FAULT[STORE]
    assert tries == [leaf_address(VA)]


def test_tables_outside_ram_are_access_faults() -> None:
    hart = mapped(ALL)
    for access in (FETCH, LOAD, STORE):
        hart.words[SATP] = 8 << 60 | 0x1000_0000 >> 12
        assert translate(hart.h, VA, access) == ACCESS_FAULT[access]
        hart.words[SATP] = 8 << 60 | (1 << 44) - 1
        assert translate(hart.h, VA, access) == ACCESS_FAULT[access]


def test_protection_covers_tables_their_updates_and_the_target() -> None:
    def protected(address: int, permissions: int, leaf_flags: int = ALL) -> BareHart:
        hart = mapped(leaf_flags)
        hart.words[PMPADDR] = address >> 2 | 0x1FF
        hart.words[PMPADDR + 1] = (1 << 54) - 1
        hart.words[PMPCFG] = 0x1F << 8 | 0x18 | permissions
        pmp_changed(hart.h)
        return hart

    assert translate(protected(TARGET, 5).h, VA, STORE) == ACCESS_FAULT[STORE]
    assert translate(protected(TARGET, 5).h, VA, LOAD) == 0
    leaf_page = leaf_address(VA) & ~0xFFF
    assert translate(protected(leaf_page, 4).h, VA, FETCH) == ACCESS_FAULT[FETCH]
    assert translate(protected(leaf_page, 1).h, VA, STORE) == 0
    assert translate(protected(leaf_page, 1, ALL & ~PTE_D).h, VA, STORE) == ACCESS_FAULT[STORE]
    assert translate(protected(leaf_page, 1, ALL & ~PTE_D).h, VA, LOAD) == 0


class StrictSurroundings(Surroundings):
    """Fails on any access outside RAM."""

    def read(self, address: int, size_bytes: int) -> int:
        assert RAM_BASE <= address <= RAM_BASE + RAM_BYTES - size_bytes
        return super().read(address, size_bytes)

    def write(self, address: int, size_bytes: int, value: int) -> None:
        assert RAM_BASE <= address <= RAM_BASE + RAM_BYTES - size_bytes
        super().write(address, size_bytes, value)


TABLE_PAGES = 4
near_pte = st.builds(
    lambda page, flags, high: (RAM_BASE >> 12) + page << 10 | flags | high << 54,
    st.integers(0, TABLE_PAGES),
    st.integers(0, 255),
    st.sampled_from([0] * 9 + [1, 0x80, 0x200]),
)


@given(
    satp_mode=st.sampled_from([8, 9, 10]),
    root=st.one_of(st.integers(0, TABLE_PAGES), st.integers(0, (1 << 44) - 1)),
    entries=st.lists(st.one_of(near_pte, st.integers(0, (1 << 64) - 1)), min_size=1, max_size=8),
    va=st.one_of(st.integers(0, 1 << 57), st.integers(0, (1 << 64) - 1)),
    access=st.sampled_from([FETCH, LOAD, STORE]),
    privilege=st.sampled_from([PRIV_U, PRIV_S]),
    status=st.integers(0, 3),
    adue=st.booleans(),
)
def test_any_table_gives_an_address_or_a_fault(
    satp_mode: int,
    root: int,
    entries: list[int],
    va: int,
    access: int,
    privilege: int,
    status: int,
    adue: bool,
) -> None:
    hart = BareHart(PRIV_S)
    hart.h.surroundings = StrictSurroundings(hart.ram, hart.words)
    pattern = b"".join(e.to_bytes(8, "little") for e in entries)
    filling = pattern * (TABLE_PAGES * 4096 // len(pattern) + 1)
    hart.ram.buffer[: TABLE_PAGES * 4096] = filling[: TABLE_PAGES * 4096]
    hart.words[SATP] = satp_mode << 60 | (root + (RAM_BASE >> 12) if root <= TABLE_PAGES else root)
    hart.words[PRIV] = privilege
    hart.words[MSTATUS] |= status << 18
    hart.words[MENVCFG] = MENVCFG_ADUE if adue else 0
    cause = translate(hart.h, va, access)
    if cause == 0:
        assert hart.words[RESULT] < 1 << 56
        assert hart.words[RESULT] & 0xFFF == va & 0xFFF
        before = hart.words[RESULT]
        assert translate(hart.h, va, access) == 0
        assert hart.words[RESULT] == before, "an update of A and D does not change the mapping"
    else:
        assert cause in (PAGE_FAULT[access], ACCESS_FAULT[access])
        assert hart.words[FAULT_CAUSE] == cause
        assert hart.words[FAULT_TVAL] == va
