# SPDX-License-Identifier: Apache-2.0
"""Where the engine keeps its state: no two things overlap, everything fits, masks are masks."""

from __future__ import annotations

from itertools import pairwise

import pytest

from innkeeper.codegen import layout as at
from innkeeper.isa.riscv import state

ENGINE_REGIONS = {
    "LARGE_LOW": 2, "LARGE_HIGH": 2, "FETCH_KEYS": 2 * at.FETCH_CONTEXTS,
    "DATA_KEYS": 3 * at.DATA_CONTEXTS, "STATISTICS": len(at.STATISTIC_NAMES),
}  # fmt: skip
SHARED_REGIONS = {
    "STUBS": len(at.STUB_NAMES), "GLUE": len(at.GLUE_NAMES), "HART_BLOCKS": at.MAX_HARTS, "OPERANDS": 10,
    "THUNKS": at.THUNK_WORDS * at.MAX_THUNKS,
}  # fmt: skip
NOT_WORDS = {"ENGINE", "HART_WORDS", "SHARED_WORDS"}


def source_names(first: str, last: str) -> list[str]:
    """Names of layout in the order of its source, from one to another."""
    names = [n for n in vars(at) if n.isupper()]
    return names[names.index(first) : names.index(last) + 1]


def spans(names: list[str], sizes: dict[str, int]) -> list[tuple[int, int, str]]:
    """Begin, end and name of each word or region, sorted."""
    found = [(getattr(at, n), getattr(at, n) + sizes.get(n, 1), n) for n in names if n not in NOT_WORDS]
    return sorted(found)


def test_words_of_a_hart_do_not_overlap() -> None:
    found = spans(source_names("JUMP_CACHE", "STATISTICS"), ENGINE_REGIONS)
    assert len(found) > 20
    for (_, end, one), (begin, _, other) in pairwise(found):
        assert end <= begin, f"{one} and {other}"
    assert found[0][0] >= state.ENGINE
    assert found[-1][1] <= state.HART_WORDS


def test_a_hart_block_is_divided() -> None:
    assert at.TLB >= state.HART_WORDS
    assert at.FETCH_TLB == at.TLB + at.TLB_ENTRIES * at.TLB_ENTRY_WORDS
    assert at.JUMP_CACHES == at.FETCH_TLB + at.FETCH_TLB_ENTRIES * 2
    assert at.EXECUTED == at.JUMP_CACHES + at.FETCH_CONTEXTS * at.JUMP_ENTRIES * 2
    assert at.BLOCK_WORDS == at.EXECUTED + at.EXECUTED_BITS // 64


def test_words_of_the_shared_block_do_not_overlap() -> None:
    names = [n for n in source_names("LOCK", "THUNKS") if n not in ("MAX_HARTS", "THUNK_WORDS")]
    found = spans(names, SHARED_REGIONS)
    assert len(found) > 40
    for (_, end, one), (begin, _, other) in pairwise(found):
        assert end <= begin, f"{one} and {other}"
    assert found[-1][1] <= at.SHARED_WORDS


@pytest.mark.parametrize(
    "size", [at.TLB_ENTRIES, at.JUMP_ENTRIES, at.CROSSING_ENTRIES, at.TLB_ENTRY_WORDS, at.BLOCK_CODE_BYTES]
)
def test_sizes_that_are_used_as_masks(size: int) -> None:
    assert size > 0 and size & (size - 1) == 0


def test_tables_have_an_entry_for_each_name() -> None:
    glue = [getattr(at, n) for n in vars(at) if n.startswith("GLUE_") and n != "GLUE_NAMES"]
    assert sorted(glue) == list(range(len(at.GLUE_NAMES)))
    stubs = [getattr(at, n) for n in vars(at) if n.startswith("STUB_") and n != "STUB_NAMES"]
    assert sorted(stubs) == list(range(len(at.STUB_NAMES)))
    holes = [getattr(at, n) for n in vars(at) if n.startswith("HOLE_")]
    assert sorted(holes) == list(range(len(holes)))
    assert set(holes) >= at.RELATIVE_HOLES
    flags = [getattr(at, n) for n in vars(at) if n.startswith("FLAG_")]
    assert sorted(flags) == [1 << i for i in range(len(flags))]


def test_a_code_page_has_room_for_each_address() -> None:
    table_bytes = 4 * 4096 // 2
    assert 8 + table_bytes == at.CODE_PAGE_BASELINE
    assert 8 + 2 * table_bytes == at.CODE_PAGE_WORDS * 8
