# SPDX-License-Identifier: Apache-2.0
"""Which instructions of a page make a region, and how control flows in it."""

from __future__ import annotations

import random

import pytest

from innkeeper.codegen.region_flow import HAMMOCK_INSTRUCTIONS, Flow
from innkeeper.codegen.region_shape import Shape, shape_of
from innkeeper.codegen.region_source import site_at
from innkeeper.isa.riscv.assembler import assemble
from innkeeper.isa.riscv.definition import COMPRESSED
from tests.unit.engines.jit.hostile import random_code


def shape(text: str, *entries: int, limit: int = 200, offset: int = 0) -> Shape:
    """The region of a page with this code at `offset`; entered there if nothing else is said."""
    page = (bytes(offset) + assemble(text, offset))[:4096].ljust(4096, b"\0")
    return shape_of(page, entries or (offset,), limit)


def spans(found: Shape) -> dict[int, int]:
    """Offsets of blocks with code, and where they end."""
    return {at: block.end for at, block in sorted(found.blocks.items()) if block.sites}


def test_a_loop_is_cut_at_its_leaders() -> None:
    found = shape(
        "addi x5, x0, 9; loop: addi x6, x6, 1; addi x5, x5, -1; bne x5, x0, loop; addi x7, x7, 1; ecall"
    )
    assert spans(found) == {0: 4, 4: 16, 16: 20}
    assert found.entries == (0,)
    assert found.successors(found.blocks[4]) == [4, 16]
    assert found.successors(found.blocks[16]) == []


def test_a_jump_into_the_middle_of_an_instruction_is_a_block_of_its_own() -> None:
    """Both ways of reading the same bytes."""
    inner = int.from_bytes(assemble("c.addi x5, 1"), "little")
    page = (inner << 16 | 0x537).to_bytes(4, "little") + assemble("jal x0, 2", 4)
    assert spans(shape_of(page.ljust(4096, b"\0"), (0,))) == {0: 4, 2: 4, 4: 8}


@pytest.mark.parametrize(
    "text", ["ecall", "csrrw x5, 0x340, x6", "sfence.vma x0, x0", "fence.i", "wfi", "mret", "unimp"]
)
def test_what_has_no_compiled_form_is_an_exit(text: str) -> None:
    bad = bytes(4) if text == "unimp" else assemble(text)
    page = (assemble("addi x5, x5, 1") + bad + assemble("addi x5, x5, 1")).ljust(4096, b"\0")
    found = shape_of(page, (0, 4, 8))
    assert spans(found) == {0: 4, 8: 12}
    assert found.entries == (0, 8)


def test_calls_and_returns() -> None:
    found = shape("jal x1, f; addi x5, x5, 1; ecall; f: addi x6, x6, 1; jalr x0, 0(x1)")
    assert spans(found) == {0: 4, 4: 8, 12: 20}
    assert found.returns == (4,)
    assert found.successors(found.blocks[12]) == [4]
    assert found.entries == (0,)


def test_behind_a_call_to_elsewhere_it_is_entered_again() -> None:
    for call in ("jal x1, 8192", "jalr x1, 0(x7)"):
        found = shape(f"{call}; addi x5, x5, 1; ecall")
        assert found.entries == (0, 4), call


@pytest.mark.parametrize("text", ["jalr x0, 0(x6)", "jalr x0, 4(x1)", "jalr x5, 0(x6)"])
def test_other_indirect_jumps_leave(text: str) -> None:
    found = shape(f"jal x1, f; addi x5, x5, 1; ecall; f: {text}")
    assert found.successors(found.blocks[12]) == []


def test_the_ends_of_the_page() -> None:
    assert spans(shape("addi x5, x5, 1; addi x6, x6, 1", offset=4092)) == {4092: 4096}
    assert spans(shape("addi x5, x5, 1", offset=4094)) == {}
    assert spans(shape("c.addi x5, 1; c.nop", offset=4094)) == {4094: 4096}
    assert spans(shape("jal x0, -8")) == {0: 4}
    assert site_at(bytes(4096), -2) is None
    assert site_at(bytes(4096), 4096) is None


def test_the_limit() -> None:
    text = "; ".join(["addi x5, x5, 1"] * 100)
    found = shape(text, limit=10)
    assert found.instruction_count == 10
    assert found.successors(found.blocks[0]) == []


def test_a_hot_loop_is_whole_however_much_is_around_it() -> None:
    """Its far end would come behind a hundred instructions that are as near to the entry."""
    around = "; ".join(["addi x6, x6, 1"] * 60)
    body = "; ".join(["addi x5, x5, 1"] * 30)
    text = f"loop: beq x5, x6, away; {body}; jal x0, loop; away: {around}; ecall"
    found = shape(text, limit=40)
    assert found.instruction_count == 40
    latch = found.blocks[4]
    assert found.successors(latch) == [0]


def test_lines_are_those_of_the_instructions() -> None:
    assert shape("addi x5, x5, 1; ecall").lines == 1
    assert shape("addi x5, x5, 1; addi x6, x6, 1; ecall", offset=60).lines == 3
    assert shape("addi x5, x5, 1; ecall", offset=62).lines == 3
    assert shape("addi x5, x5, 1", offset=4092).lines == 1 << 63


def random_shapes(rng: random.Random) -> list[Shape]:
    pages = [random_code(rng) for _ in range(20)]
    # Pages of branches and computing only, so that there are many ways.
    for _ in range(40):
        text = []
        for _ in range(60):
            target = rng.randrange(0, 240, 4)
            kind = rng.random()
            branch = f"{rng.choice(['beq', 'bltu'])} x5, x6, {target}"
            jump = rng.choice([f"jal x1, {target}", f"jal x0, {target}", "jalr x0, 0(x1)"])
            text.append("addi x5, x5, 1" if kind < 0.6 else branch if kind < 0.85 else jump)
        pages.append(assemble("\n".join(text)).ljust(4096, b"\0"))
    return [shape_of(p, tuple(rng.sample(range(0, 240, 4), rng.randrange(1, 4)))) for p in pages]


def test_random_regions_hold_together(rng: random.Random) -> None:
    """Each instruction once in a block, each successor a block, and every way round comes by a check."""
    for found in random_shapes(rng):
        for at, block in found.blocks.items():
            assert at == block.offset
            for one, two in zip(block.sites, block.sites[1:], strict=False):
                assert one.end == two.offset
                assert one.trace.control is None
            assert all(found.blocks[s].sites for s in found.successors(block))
        assert all(found.blocks[entry].sites for entry in found.entries)
        if found.entries:
            flow = Flow(found)
            for at in reachable(flow):
                assert flow.cost(at) == longest(flow, at, set())


def reachable(flow: Flow) -> set[int]:
    """Blocks where control may come; not so what is behind a call from which nothing here returns."""
    found, waiting = set(flow.shape.entries), list(flow.shape.entries)
    while waiting:
        new = set(flow.successors[waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def longest(flow: Flow, at: int, above: set[int]) -> int:
    """Instructions on the longest way to a checked block; fails where a way comes round without one."""
    assert at not in above, "a cycle without a check"
    further = [longest(flow, s, above | {at}) for s in flow.successors[at] if s not in flow.checked]
    return len(flow.shape.blocks[at].sites) + max(further, default=0)


def hammock(inner: str, tail: str = "addi x9, x9, 1; ecall") -> bool:
    """Whether the branch over `inner` is folded."""
    found = shape(f"addi x5, x5, 1; beq x5, x6, over; {inner}; over: {tail}")
    return Flow(found).hammock(found.blocks[0]) is not None


def test_short_plain_code_is_folded() -> None:
    assert hammock("addi x7, x7, 1")
    assert hammock("; ".join(["add x7, x7, x8"] * HAMMOCK_INSTRUCTIONS))
    assert not hammock("; ".join(["add x7, x7, x8"] * (HAMMOCK_INSTRUCTIONS + 1)))


@pytest.mark.parametrize(
    "inner",
    [
        "lw x7, 0(x8)", "sw x7, 0(x8)", "div x7, x7, x8", "remuw x7, x7, x8", "fadd.d f1, f1, f2", "ecall",
        "amoadd.w x7, x7, (x8)", "jal x0, 16", "beq x5, x7, 8", "fence", "csrrs x7, 0xc00, x0",
    ],
)  # fmt: skip
def test_what_may_trap_or_takes_long_is_not_folded(inner: str) -> None:
    assert not hammock(inner)


def test_what_is_reached_otherwise_is_not_folded() -> None:
    assert not hammock("addi x7, x7, 1", "addi x9, x9, 1; jal x0, 8")
    found = shape("addi x5, x5, 1; beq x5, x6, over; addi x7, x7, 1; over: ecall", 0, 8)
    assert Flow(found).hammock(found.blocks[0]) is None


def test_all_compressed_instructions_are_held_or_exits(rng: random.Random) -> None:
    for name, short in COMPRESSED.items():
        for _ in range(20):
            word = short.encoding.match | rng.getrandbits(16) & ~short.encoding.mask & 0xFFFF
            found = site_at(word.to_bytes(2, "little").ljust(4096, b"\0"), 0)
            assert found is None or found.end == 2, name
