# SPDX-License-Identifier: Apache-2.0
"""Physical memory protection: matching, priority, locks, and what its CSRs let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.isa.riscv.csrs import read_csr, write_csr
from innkeeper.isa.riscv.pmp import pmp_permits
from innkeeper.isa.riscv.state import PMP_ACTIVE, RESULT
from innkeeper.spec.riscv import CSR_PMPADDR0, CSR_PMPCFG0, CSR_PMPCFG2, PRIV_M, PRIV_S, PRIV_U
from tests.unit.isa.riscv.bare_hart import BareHart

R, W, X, TOR, NA4, NAPOT, LOCK = 1, 2, 4, 1 << 3, 2 << 3, 3 << 3, 1 << 7
ONES = (1 << 54) - 1


def protected(*entries: tuple[int, int]) -> BareHart:
    """A hart with (configuration, pmpaddr) entries from 0 on, written through the CSRs."""
    hart = BareHart()
    config = 0
    for index, (bits, address) in enumerate(entries):
        write_csr(hart.h, CSR_PMPADDR0 + index, address)
        config |= bits << index * 8
    write_csr(hart.h, CSR_PMPCFG0, config)
    return hart


def csr(hart: BareHart, number: int) -> int:
    assert read_csr(hart.h, number) == 1
    return hart.words[RESULT]


def napot(base: int, size_bytes: int) -> int:
    return base >> 2 | (size_bytes >> 3) - 1


def test_without_entries_only_machine_mode_passes() -> None:
    hart = protected()
    for access in range(3):
        assert pmp_permits(hart.h, 0x8000_0000, access, PRIV_M) == 1
        assert pmp_permits(hart.h, 0x8000_0000, access, PRIV_S) == 0
        assert pmp_permits(hart.h, 0x8000_0000, access, PRIV_U) == 0


def test_entry_over_everything_is_the_quick_case() -> None:
    for address in (ONES, ONES >> 1):
        hart = protected((NAPOT | R | W | X, address))
        assert hart.words[PMP_ACTIVE] == 0
        assert pmp_permits(hart.h, (1 << 56) - 1, 2, PRIV_U) == 1
    assert protected((NAPOT | R | W | X, ONES >> 2)).words[PMP_ACTIVE] == 1
    assert protected((NAPOT | R | X, ONES)).words[PMP_ACTIVE] == 1
    assert protected((TOR | R | W | X, ONES)).words[PMP_ACTIVE] == 1


def test_napot_range() -> None:
    hart = protected((NAPOT | R, napot(0x8000_4000, 0x4000)))
    inside = [a for a in range(0x8000_0000, 0x8001_0000, 0x1000) if pmp_permits(hart.h, a, 1, PRIV_S)]
    assert inside == [0x8000_4000, 0x8000_5000, 0x8000_6000, 0x8000_7000]
    assert pmp_permits(hart.h, 0x8000_7FFF, 1, PRIV_S) == 1
    assert pmp_permits(hart.h, 0x8000_4000, 2, PRIV_S) == 0


def test_top_of_range() -> None:
    hart = protected(
        (TOR | R, 0x8000_2000 >> 2), (TOR | R | W, 0x8000_4000 >> 2), (TOR | X, 0x8000_3000 >> 2)
    )
    assert pmp_permits(hart.h, 0, 1, PRIV_U) == 1
    assert pmp_permits(hart.h, 0x8000_1FFF, 2, PRIV_U) == 0
    assert pmp_permits(hart.h, 0x8000_2000, 2, PRIV_U) == 1
    assert pmp_permits(hart.h, 0x8000_3FFF, 2, PRIV_U) == 1
    assert pmp_permits(hart.h, 0x8000_4000, 1, PRIV_U) == 0
    assert pmp_permits(hart.h, 0x8000_3000, 0, PRIV_U) == 0, "an empty range matches nothing"


def test_lowest_entry_decides() -> None:
    hart = protected((NAPOT | R, napot(0x8000_0000, 0x1000)), (NAPOT | R | W | X, ONES))
    assert pmp_permits(hart.h, 0x8000_0000, 2, PRIV_S) == 0
    assert pmp_permits(hart.h, 0x8000_1000, 2, PRIV_S) == 1


def test_lock_binds_machine_mode_too_and_holds() -> None:
    hart = protected((NAPOT | R, napot(0x8000_0000, 0x1000)), (LOCK | NAPOT | R, napot(0x8000_1000, 0x1000)))
    assert pmp_permits(hart.h, 0x8000_0000, 2, PRIV_M) == 1
    assert pmp_permits(hart.h, 0x8000_1000, 2, PRIV_M) == 0
    assert pmp_permits(hart.h, 0x8000_1000, 1, PRIV_M) == 1
    before = csr(hart, CSR_PMPADDR0 + 1)
    write_csr(hart.h, CSR_PMPADDR0 + 1, 0)
    write_csr(hart.h, CSR_PMPCFG0, 0)
    assert csr(hart, CSR_PMPADDR0 + 1) == before
    assert csr(hart, CSR_PMPCFG0) == (LOCK | NAPOT | R) << 8


def test_locked_top_of_range_locks_its_bottom() -> None:
    hart = protected((0, 0x8000_0000 >> 2), (LOCK | TOR | R, 0x8000_2000 >> 2))
    write_csr(hart.h, CSR_PMPADDR0, 0)
    assert csr(hart, CSR_PMPADDR0) == 0x8000_0000 >> 2
    assert pmp_permits(hart.h, 0x8000_1000, 2, PRIV_M) == 0


def test_granularity_as_software_finds_it() -> None:
    """As riscv-priv 20240411, "Address Matching", says: write ones with A off, find the lowest one."""
    hart = protected()
    write_csr(hart.h, CSR_PMPADDR0, (1 << 64) - 1)
    seen = csr(hart, CSR_PMPADDR0)
    assert seen == ONES & ~0x3FF
    write_csr(hart.h, CSR_PMPADDR0, 0)
    write_csr(hart.h, CSR_PMPCFG0, NAPOT)
    assert csr(hart, CSR_PMPADDR0) == 0x1FF


@pytest.mark.parametrize(
    ("written", "read"),
    [(0x60, 0), (W, 0), (W | X, X), (NA4 | R, NAPOT | R), (0xFF, 0x9F), (TOR | R | W, TOR | R | W)],
)
def test_configuration_is_legalized(written: int, read: int) -> None:
    hart = BareHart()
    write_csr(hart.h, CSR_PMPCFG2, written << 24)
    assert csr(hart, CSR_PMPCFG2) == read << 24


@given(
    configs=st.integers(0, (1 << 64) - 1),
    addresses=st.lists(st.integers(0, ONES), min_size=8, max_size=8),
    pa=st.integers(0, (1 << 56) - 1),
    access=st.integers(0, 2),
    privilege=st.sampled_from([PRIV_U, PRIV_S, PRIV_M]),
)
def test_a_page_is_uniform(configs: int, addresses: list[int], pa: int, access: int, privilege: int) -> None:
    hart = protected(*((configs >> i * 8 & 0xFF, address) for i, address in enumerate(addresses)))
    answers = {
        pmp_permits(hart.h, pa & ~0xFFF | offset, access, privilege) for offset in (0, 4, 0x7FC, 0xFFF)
    }
    assert len(answers) == 1
