# SPDX-License-Identifier: Apache-2.0
"""A region as bytes: round trip, damage, bounds, and that LLVM asks for nothing that is not there."""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.codegen import layout as at
from innkeeper.codegen.region_code import LIMIT_CODE_BYTES, RegionCode
from innkeeper.codegen.region_object import compile_region
from innkeeper.isa.riscv.assembler import assemble
from tests.unit.engines.jit.hostile import random_code

REGION = RegionCode(bytes(64), ((10, at.STUB_LOOKUP, -4), (60, at.STUB_SIDE, -4)), ((0, 0), (130, 63)), 5)


def test_round_trip() -> None:
    assert RegionCode.from_bytes(REGION.to_bytes()) == REGION
    newlines = replace(REGION, code=b"\n" * 64)
    assert RegionCode.from_bytes(newlines.to_bytes()) == newlines


BAD: list[dict[str, Any]] = [
    {"code": b""},
    {"code": bytes(LIMIT_CODE_BYTES + 1)},
    {"stubs": ((61, at.STUB_SIDE, -4),)},
    {"stubs": ((-1, at.STUB_SIDE, -4),)},
    {"stubs": ((1 << 64, at.STUB_SIDE, -4),)},
    {"stubs": ((0, len(at.STUB_NAMES), -4),)},
    {"stubs": ((0, at.STUB_EXIT, -4),)},
    {"stubs": ((0, -1, -4),)},
    {"stubs": ((0, at.STUB_SIDE, 1 << 31),)},
    {"stubs": ((0, at.STUB_SIDE, -4),) * 65},
    {"entries": ()},
    {"entries": ((1, 0),)},
    {"entries": ((4096, 0),)},
    {"entries": ((-2, 0),)},
    {"entries": ((0, 64),)},
    {"entries": ((0, -1),)},
    {"entries": ((64, 0),)},
    {"entries": ((0, 0),) * 2049},
    {"lines": 0},
    {"lines": -1},
    {"lines": 1 << 64 | 5},
]
"""An entry's line must be among the lines, or a store to it would not be seen."""


@pytest.mark.parametrize("change", BAD, ids=str)
def test_what_reaches_outside_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="region"):
        replace(REGION, **change)


FACTS = [
    "[]", "{}", "null", "5", '"x"', "[" * 4000, "{" * 4000, '{"stubs": [], "entries": [[0, 0]]}',
    '{"stubs": 5, "entries": [[0, 0]], "lines": 1}', '{"stubs": [], "entries": [[0]], "lines": 1}',
    '{"stubs": [], "entries": [[0, 0]], "lines": Infinity}',
    '{"stubs": [], "entries": [[0, 0]], "lines": 1.0}',
    '{"stubs": [], "entries": [[0, 0]], "lines": "1"}',
    '{"stubs": {"abc": 1}, "entries": [[0, 0]], "lines": 1}',
    '{"stubs": [], "entries": [[0, 0]], "lines": ' + "9" * 5000 + "}", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("header", FACTS, ids=lambda header: header[:60])
def test_senseless_headers(header: str) -> None:
    with pytest.raises(ValueError):
        RegionCode.from_bytes(header.encode(errors="surrogatepass") + b"\n" + bytes(64))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@settings(max_examples=200)
@given(stubs=JSON, entries=JSON, lines=JSON)
def test_any_header_gives_a_region_or_a_value_error(stubs: object, entries: object, lines: object) -> None:
    facts = json.dumps({"stubs": stubs, "entries": entries, "lines": lines})
    with contextlib.suppress(ValueError):
        RegionCode.from_bytes(facts.encode() + b"\n" + bytes(64))


@settings(max_examples=200)
@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        RegionCode.from_bytes(data)


def test_random_pages_need_the_stubs_only(rng: random.Random) -> None:
    """`compile_region` raises StencilError for a call of anything else, or a relocation it does not know."""
    regions = 0
    for _ in range(25):
        page = random_code(rng)
        entries = tuple(sorted(rng.sample(range(0, 4096, 2), 12)))
        region = compile_region(page, entries, 40)
        regions += region is not None
        assert region is None or RegionCode.from_bytes(region.to_bytes()) == region
    assert regions > 15


CLEARING = """
    loop: sd x0, 0(x10); sd x0, 8(x10); sd x0, 16(x10); sd x0, 24(x10); addi x10, x10, 32; bne x10, x11, loop
    copy: ld x5, 0(x10); sd x5, 0(x12); addi x10, x10, 8; addi x12, x12, 8; bne x10, x11, copy
    jal x0, loop
"""
MANY_ENTRIES = "\n".join(f"addi x{5 + n % 8}, x6, {n}; jal x0, {2 * 4 * (16 - n)}" for n in range(16))


@pytest.mark.parametrize("text", [CLEARING, MANY_ENTRIES])
def test_loops_that_are_library_functions(text: str) -> None:
    """LLVM knows loops that clear and copy, and makes tables of many entries."""
    code = assemble(text, 0)
    region = compile_region(code.ljust(4096, b"\0"), tuple(range(0, len(code), 8)))
    assert region is not None
    assert {stub for _, stub, _ in region.stubs} <= {at.STUB_LOOKUP, at.STUB_SIDE}


def test_nothing_to_compile() -> None:
    assert compile_region(bytes(4096), (0, 64)) is None
    assert compile_region(assemble("ecall").ljust(4096, b"\0"), (0,)) is None


def test_regions_of_one_page_merge() -> None:
    """Both are entered, the second from where it lies behind the first; where both are, it is the second."""
    other = RegionCode(
        bytes(range(1, 9)), ((4, at.STUB_SIDE, -4),), ((130, 7), (200, 0)), 1 << 2 | 1 << 3, 1 << 100
    )
    both = REGION.merged(other)
    assert both.code == REGION.code + other.code
    assert both.stubs == (*REGION.stubs, (68, at.STUB_SIDE, -4))
    assert both.entries == ((0, 0), (130, 71), (200, 64))
    assert both.lines == REGION.lines | other.lines and both.has(200) and not both.has(202)
    assert RegionCode.from_bytes(both.to_bytes()) == both
