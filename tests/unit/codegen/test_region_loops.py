# SPDX-License-Identifier: Apache-2.0
"""Which loops of a region are innermost, and what is stored where they are left."""

from __future__ import annotations

import pytest

from innkeeper.codegen import region_loops
from innkeeper.codegen.region_flow import Flow, with_loop_entries
from innkeeper.codegen.region_ir import region_ir
from innkeeper.codegen.region_loops import inner_loops
from innkeeper.codegen.region_shape import shape_of
from innkeeper.codegen.region_source import FLOAT_STATE
from innkeeper.isa.riscv.assembler import assemble

NESTED = (
    "outer: addi x5, x0, 9; inner: addi x6, x6, 1; addi x5, x5, -1; bne x5, x0, inner;"
    "addi x7, x7, -1; bne x7, x0, outer; ecall"
)


def flow_of(text: str, *entries: int) -> Flow:
    return Flow(with_loop_entries(shape_of(assemble(text).ljust(4096, b"\0"), entries or (0,))))


@pytest.mark.parametrize("entries", [(0,), (4,), (16,), (4, 16, 0)])
def test_only_the_inner_loop_is_innermost_wherever_it_is_entered(entries: tuple[int, ...]) -> None:
    """Entered in its middle, the outer loop has no other way in that would tell its head."""
    found = inner_loops(flow_of(NESTED, *entries))
    assert set(found) == {4}
    assert found[4].written == (("x", 5), ("x", 6))


def test_two_loops_in_one_are_both_innermost() -> None:
    found = inner_loops(
        flow_of(
            "outer: addi x5, x0, 9; one: addi x5, x5, -1; bne x5, x0, one;"
            "two: addi x6, x6, -1; bne x6, x0, two; jal x0, outer"
        )
    )
    assert {at: loop.written for at, loop in found.items()} == {4: (("x", 5),), 12: (("x", 6),)}


def test_a_loop_with_several_blocks_is_one() -> None:
    found = inner_loops(flow_of("loop: beq x5, x6, on; addi x7, x7, 1; on: addi x5, x5, 1; jal x0, loop"))
    assert set(found) == {0, 4, 8}
    assert len({id(loop) for loop in found.values()}) == 1


def test_floating_point_is_dirty_where_the_loop_is_left() -> None:
    found = inner_loops(flow_of("loop: fadd.d f1, f1, f2; addi x5, x5, -1; bne x5, x0, loop"))
    assert set(found[0].written) == {("f", 1), ("x", 5), FLOAT_STATE}
    compare = inner_loops(flow_of("loop: feq.d x5, f1, f2; bne x5, x0, loop"))
    assert FLOAT_STATE in compare[0].written


def test_straight_code_and_long_loops_store_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inner_loops(flow_of("addi x5, x5, 1; ecall")) == {}
    monkeypatch.setattr(region_loops, "LIMIT_INSTRUCTIONS", 2)
    assert inner_loops(flow_of(NESTED)) == {}


def test_what_a_loop_writes_is_stored_once_for_all_its_exits() -> None:
    """Five accesses may leave the loop; the two registers that it writes are stored in one place for all."""
    body = "".join(f"ld x6, {8 * n}(x7); " for n in range(5))
    text = region_ir(flow_of(f"loop: {body} addi x5, x5, -1; bne x5, x0, loop; ecall").shape)
    stores = [line for line in text.splitlines() if "store" in line and line.rstrip().endswith("ptr %x6.at")]
    assert len(stores) == 2  # for the side exits, and for the way on behind the loop


def test_a_loop_is_entered_where_it_is_jumped_back_to_only() -> None:
    """Whatever was hot in it: a second way in would cost more than it brings."""
    assert flow_of(NESTED, 8, 12).shape.entries == (0, 4)
    away = "loop: addi x5, x5, 1; jal x1, 8192; addi x6, x6, 1; bne x5, x6, loop; ecall"
    assert flow_of(away, 0, 8).shape.entries == (0, 8)  # where a call comes back to remains


def test_a_region_holds_its_loops_and_entries_only() -> None:
    """The end of a loop that did not fit may run elsewhere for ever: it is to be compiled once it is hot."""
    loop = flow_of(NESTED, 0)
    assert loop.holds() == sum(1 << (at >> 1) for at in (0, 4, 8, 12, 16, 20))
    page = assemble(NESTED).ljust(4096, b"\0")
    cut = Flow(with_loop_entries(shape_of(page, (0,), limit=3)))
    assert cut.holds() == 1
