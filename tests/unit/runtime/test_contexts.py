# SPDX-License-Identifier: Apache-2.0
"""What selects a mapping: changes of satp, privilege and mstatus need no fence, and sfence.vma is enough."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from innkeeper.codegen import layout as at
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.assembler import assemble
from innkeeper.runtime.contexts import LAST_IDENTIFIER
from innkeeper.spec.riscv import CAUSE_LOAD_PAGE, CAUSE_STORE_PAGE, MSTATUS_MXR, MSTATUS_SUM
from tests.unit.runtime.guest import BASE, LEAF, PAGE, SV39, XX, Guest, R, U, W

DATA_VA = 0x1000_0000
CODE = BASE + 0x1000
HANDLER = BASE + 0x3000
FRAMES = [BASE + 0x20_000 + i * PAGE for i in range(40)]
SUM, MXR = MSTATUS_SUM, MSTATUS_MXR


@pytest.fixture
def guest() -> Iterator[Guest]:
    with Guest() as made:
        made.program("ecall", HANDLER)
        yield made


def spaces(guest: Guest, count: int, bits: int = R | W) -> list[int]:
    """Roots of address spaces: the code is the same in all, DATA_VA is another frame in each."""
    roots = []
    for i in range(count):
        root = guest.new_table()
        guest.map(root, CODE, CODE, R | XX | LEAF)
        guest.map(root, HANDLER, HANDLER, R | XX | LEAF)
        guest.map(root, DATA_VA, FRAMES[i], bits | LEAF)
        guest.ram.put64(FRAMES[i], 100 + i)
        roots.append(root)
    return roots


def begin(guest: Guest, root: int, asid: int = 0) -> None:
    guest.start(CODE)
    guest.words[state.STVEC] = HANDLER
    guest.use(root, asid)


def test_more_address_spaces_than_contexts(guest: Guest) -> None:
    count = at.DATA_CONTEXTS + at.FETCH_CONTEXTS
    roots = spaces(guest, count)
    guest.program(f"li x5, {DATA_VA}\nloop: ld x6, 0(x5)\nadd x7, x7, x6\nsd x7, 8(x5)\necall\nj loop", CODE)
    begin(guest, roots[0])
    order = [*range(count), *range(count), *range(0, count, 2), 0, 0]
    total = 0
    for index in order:
        guest.select(roots[index], index)
        guest.finish()
        guest.vcpu.complete_ecall()
        total += 100 + index
        assert guest.ram.get64(FRAMES[index] + 8) == total


def test_the_guest_changes_satp_without_a_fence(guest: Guest) -> None:
    roots = spaces(guest, 2)
    guest.program(
        f"""li x5, {DATA_VA}
        li x10, {SV39 | 1 << 44 | roots[0] >> 12}
        li x11, {SV39 | 2 << 44 | roots[1] >> 12}
        li x12, 50
        loop: csrw satp, x10
        ld x6, 0(x5)
        addi x6, x6, 1
        sd x6, 0(x5)
        csrw satp, x11
        ld x7, 0(x5)
        addi x7, x7, 2
        sd x7, 0(x5)
        addi x12, x12, -1
        bnez x12, loop
        ecall""",
        CODE,
    )
    begin(guest, roots[0], 1)
    flushes = guest.statistic("tlb_flushes")
    guest.finish()
    assert [guest.ram.get64(f) for f in FRAMES[:2]] == [150, 201]
    assert guest.statistic("tlb_flushes") == flushes


@pytest.mark.parametrize(
    ("bits", "needed"), [(R | W | U, SUM), (XX, MXR), (XX | U, SUM | MXR)], ids=["sum", "mxr", "both"]
)
def test_sum_and_mxr_count_at_once(guest: Guest, bits: int, needed: int) -> None:
    root = spaces(guest, 1, bits)[0]
    guest.program(
        f"""li x5, {DATA_VA}
        li x6, {needed}
        li x9, 3
        loop: csrs sstatus, x6
        ld x7, 0(x5)
        csrc sstatus, x6
        addi x9, x9, -1
        bnez x9, loop
        ld x8, 0(x5)
        ecall""",
        CODE,
    )
    begin(guest, root)
    guest.finish()
    assert (guest.words[state.SCAUSE], guest.words[state.STVAL]) == (CAUSE_LOAD_PAGE, DATA_VA)
    assert (guest.x(7), guest.x(8)) == (100, 0)


def test_user_mode_has_a_context_of_its_own(guest: Guest) -> None:
    root = spaces(guest, 1)[0]  # DATA_VA is the supervisor's
    user = BASE + 0x5000
    guest.map(root, user, user, R | XX | U | LEAF)
    guest.program("ld x8, 0(x5)", user)
    guest.program(f"li x5, {DATA_VA}\nld x7, 0(x5)\nli x6, {user}\ncsrw sepc, x6\nsret", CODE)
    begin(guest, root)
    guest.finish()
    assert (guest.words[state.SCAUSE], guest.words[state.SEPC]) == (CAUSE_LOAD_PAGE, user)
    assert (guest.x(7), guest.x(8)) == (100, 0)


def test_a_page_fetched_as_user_is_not_fetched_as_supervisor(guest: Guest) -> None:
    root = spaces(guest, 1)[0]
    user = BASE + 0x5000
    guest.map(root, user, user, R | XX | U | LEAF)
    guest.program("ecall", user)
    guest.program(f"li x6, {user}\ncsrw sepc, x6\nsret", CODE)
    guest.program(f"csrr x7, scause\nli x6, {user}\njr x6", HANDLER)
    begin(guest, root)
    guest.run(40)
    assert guest.x(7) == 12  # the last of: ecall from U, then fetch page faults for ever
    assert guest.words[state.STVAL] == user


def fence_program(fence: str) -> str:
    return f"""li x5, {DATA_VA}
        ld x7, 0(x5)
        sd x7, 8(x5)
        sd x11, 0(x10)
        {fence}
        ld x8, 0(x5)
        sd x8, 8(x5)
        ecall"""


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize(
    "fence", ["sfence.vma", "sfence.vma x12, zero", "sfence.vma zero, x13", "sfence.vma x12, x13"]
)
def test_fence_after_a_new_entry(guest: Guest, fence: str, level: int) -> None:
    """The entry is rewritten and fenced, by an address elsewhere in the page where it is a large one."""
    root = guest.new_table()
    guest.map(root, CODE, CODE, R | XX | LEAF)
    old, new = (BASE, FRAMES[1]) if level else (FRAMES[0], FRAMES[1])
    entry = guest.map(root, DATA_VA, old, R | W | LEAF, level)
    guest.map(root, entry & -PAGE, entry & -PAGE, R | W | LEAF)
    if level:  # the large page becomes small ones
        table = guest.new_table()
        guest.ram.put64(table, new >> 2 | R | W | LEAF)
        value = table >> 2 | 1
    else:
        value = new >> 2 | R | W | LEAF
    guest.program(fence_program(fence), CODE)
    begin(guest, root, asid=5)
    guest.ram.put64(new, 77)
    for register, content in [(10, entry), (11, value), (12, DATA_VA + 0x3000 * level), (13, 5)]:
        guest.words[state.X + register] = content
    guest.finish()
    assert (guest.x(8), guest.ram.get64(new + 8)) == (77, 77)


def test_fence_of_a_large_page_forgets_code_across_two_pages() -> None:
    """An instruction's first half is in a large page and its second in a small one; the fence is for another
    address of the large page."""
    with Guest(ram_bytes=4 << 20) as guest:
        root = guest.new_table()
        small = DATA_VA + (1 << 21)
        entry = guest.map(root, DATA_VA, BASE, R | XX | LEAF, 1)
        for va, pa, bits in [(CODE, CODE, R | XX), (small, FRAMES[1], R | XX), (entry, entry, R | W)]:
            guest.map(root, va & -PAGE, pa & -PAGE, bits | LEAF)
        table = guest.new_table()
        guest.ram.put64(table + 8 * 511, FRAMES[2] >> 2 | R | XX | LEAF)
        for page, register in [(BASE + (1 << 21) - PAGE, "x7"), (FRAMES[2], "x8")]:
            guest.ram.write(page + PAGE - 2, assemble(f"li {register}, 1")[:2])
        guest.ram.write(FRAMES[1], assemble("li x7, 1\njr ra")[2:])
        guest.program("jalr ra, 0(x5)\nsd x11, 0(x10)\nsfence.vma x12, zero\njalr ra, 0(x5)\necall", CODE)
        begin(guest, root)
        for register, content in [(5, small - 2), (10, entry), (11, table >> 2 | 1), (12, DATA_VA + 0x5000)]:
            guest.words[state.X + register] = content
        guest.finish()
        assert (guest.x(7), guest.x(8)) == (1, 1)


def test_identifiers_wrap_around(guest: Guest) -> None:
    """New identifiers are used up by changing address spaces; old entries must not come alive again."""
    roots = spaces(guest, at.DATA_CONTEXTS + 1)
    guest.program(f"li x5, {DATA_VA}\nloop: ld x6, 0(x5)\necall\nj loop", CODE)
    begin(guest, roots[0])
    seen = set()
    for turn in range(3 * LAST_IDENTIFIER):
        index = turn % len(roots)
        guest.select(roots[index], index)
        seen.add(guest.vcpu.all_words[at.DATA_CONTEXT])
        if turn % 500 < 20 or turn % LAST_IDENTIFIER < 20:
            guest.finish()
            assert guest.x(6) == 100 + index
            guest.vcpu.complete_ecall()
    assert max(seen) == LAST_IDENTIFIER


def test_no_identifier_makes_a_tag_that_means_no_tag(guest: Guest) -> None:
    """The last page of the address space with the last identifier: the guest must not reach host memory."""
    assert at.NO_TAG & (PAGE - 1) > LAST_IDENTIFIER
    guest.program("li x5, -8\nsd x5, 0(x5)\necall", CODE)
    for used in range(LAST_IDENTIFIER - 3, LAST_IDENTIFIER + 1):
        guest.vcpu.all_words[at.NEXT_IDENTIFIER] = used
        begin(guest, spaces(guest, 1)[0])
        guest.finish()
        assert (guest.words[state.SCAUSE], guest.words[state.STVAL]) == (CAUSE_STORE_PAGE, (1 << 64) - 8)


def test_random_changes_of_address_space(guest: Guest, rng: random.Random) -> None:
    """A model: what each page of each space reads, through changes, remappings and fences."""
    roots = spaces(guest, 20)
    entries = [guest.map(root, DATA_VA, FRAMES[i], R | W | LEAF) for i, root in enumerate(roots)]
    frame_of = list(range(20))
    guest.program(f"li x5, {DATA_VA}\nloop: ld x6, 0(x5)\necall\nj loop", CODE)
    begin(guest, roots[0])
    for _ in range(400):
        index = rng.randrange(20)
        if rng.random() < 0.3:
            frame_of[index] = rng.randrange(20)
            guest.ram.put64(entries[index], FRAMES[frame_of[index]] >> 2 | R | W | LEAF)
            by_address, by_asid = rng.random() < 0.5, rng.random() < 0.5
            guest.fence(DATA_VA if by_address else None, index if by_asid else None)
        guest.select(roots[index], index)
        guest.finish()
        guest.vcpu.complete_ecall()
        assert guest.x(6) == 100 + frame_of[index]
