# SPDX-License-Identifier: Apache-2.0
"""Accesses that leave compiled code: exits say exactly what is accessed, and nothing else happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from innkeeper.engines.engine import Exit, ExitReason
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.assembler import assemble
from innkeeper.isa.riscv.counters import retired
from innkeeper.spec.riscv import CAUSE_LOAD_PAGE, CAUSE_STORE_PAGE
from tests.unit.runtime.guest import BASE, LEAF, PAGE, XX, Guest, R, W

DEVICE = 0x1000_0000
FS_INITIAL = 1 << 13
ONES = (1 << 64) - 1


@pytest.fixture
def guest() -> Iterator[Guest]:
    with Guest() as made:
        yield made


LOADS = [
    ("lb", 1),
    ("lbu", 1),
    ("lh", 2),
    ("lhu", 2),
    ("lw", 4),
    ("lwu", 4),
    ("ld", 8),
    ("flw", 4),
    ("fld", 8),
]


@pytest.mark.parametrize(("name", "size"), LOADS)
@pytest.mark.parametrize("frm", [0, 7])
def test_a_load_from_a_device(guest: Guest, name: str, size: int, frm: int) -> None:
    """With a reserved frm, floating-point loads are executed by their definition."""
    target = "f9" if name[0] == "f" else "x9"
    guest.program(f"li x5, {DEVICE}\nnop\n{name} {target}, {8 - size}(x5)\naddi x6, x6, 1\necall")
    guest.start()
    guest.words[state.MSTATUS] |= FS_INITIAL
    guest.words[state.FRM] = frm
    guest.vcpu.float_written()
    left = guest.run()
    assert left == Exit(ExitReason.MMIO_READ, DEVICE + 8 - size, size)
    assert guest.words[state.FAULT_TVAL] == DEVICE + 8 - size
    value = 0xFEDC_BA98_7654_3280
    guest.vcpu.complete_read(value)
    guest.finish()
    low = value & ONES >> 64 - 8 * size
    if name in ("lb", "lh", "lw"):
        low |= ONES << 8 * size & ONES if low >> 8 * size - 1 else 0
    elif name == "flw":
        low |= ONES << 32 & ONES
    assert guest.words[(state.F if name[0] == "f" else state.X) + 9] == low
    assert guest.words[state.FS_DIRTY] == int(name[0] == "f")
    assert guest.x(6) == 1
    assert retired(guest.words) == len(assemble(f"li x5, {DEVICE}")) // 4 + 4


@pytest.mark.parametrize(
    ("name", "size"), [("sb", 1), ("sh", 2), ("sw", 4), ("sd", 8), ("fsw", 4), ("fsd", 8)]
)
def test_a_store_to_a_device(guest: Guest, name: str, size: int) -> None:
    source = "f9" if name[0] == "f" else "x9"
    guest.program(f"li x5, {DEVICE}\n{name} {source}, 16(x5)\naddi x6, x6, 1\necall")
    guest.start()
    guest.words[state.MSTATUS] |= FS_INITIAL
    guest.vcpu.float_written()
    guest.words[state.F + 9] = guest.words[state.X + 9] = 0x0123_4567_89AB_CDEF
    left = guest.run()
    value = 0x0123_4567_89AB_CDEF & ONES >> 64 - 8 * size
    assert left == Exit(ExitReason.MMIO_WRITE, DEVICE + 16, size, value)
    assert guest.words[state.PC] == BASE + len(assemble(f"li x5, {DEVICE}")) + 4
    guest.finish()
    assert guest.x(6) == 1


@pytest.mark.parametrize(
    ("text", "cause"), [("ld x9, 8(x5)", 5), ("c.sw a0, 4(a3)", 7), ("fld f9, 8(x5)", 5)]
)
def test_where_no_device_is_the_access_itself_traps(guest: Guest, text: str, cause: int) -> None:
    """In the middle of a block, with instructions of both lengths before it."""
    head = (
        f"li x5, {DEVICE}\nli x13, {DEVICE}\nli x6, {BASE + 0x1000}\ncsrw stvec, x6\nc.nop\naddi x7, x7, 1\n"
    )
    guest.program(f"{head}{text}\naddi x7, x7, 100\necall")
    guest.program("ecall", BASE + 0x1000)
    guest.start()
    guest.words[state.MSTATUS] |= FS_INITIAL
    guest.vcpu.flush()
    left = guest.run()
    guest.vcpu.raise_exception(cause, guest.words[state.FAULT_TVAL])
    guest.finish()
    assert (guest.words[state.SCAUSE], guest.words[state.STVAL]) == (cause, left.address)
    assert guest.words[state.SEPC] == BASE + len(assemble(head))
    assert guest.x(7) == 1
    assert (
        retired(guest.words)
        == 2 * len(assemble(f"li x5, {DEVICE}")) // 4 + len(assemble(f"li x6, {BASE + 0x1000}")) // 4 + 5
    )


def test_an_exit_is_at_the_right_budget(guest: Guest) -> None:
    """What is behind the access in its block is not paid for."""
    guest.program(f"li x5, {DEVICE}\nloop: ld x9, 0(x5)\n" + "addi x6, x6, 1\n" * 20 + "j loop")
    guest.start()
    guest.run()
    before = retired(guest.words)
    for turn in range(1, 5):
        guest.vcpu.complete_read(turn)
        guest.run()
        assert (guest.x(6), guest.x(9)) == (20 * turn, turn)
        assert retired(guest.words) - before == 22 * turn


def test_reset_forgets_a_pending_read(guest: Guest) -> None:
    """A stepped load left for a device; after a reset a compiled one does, and gets its own answer."""
    guest.program(f"li x5, {DEVICE}\nfld f9, 0(x5)")
    guest.start()
    guest.words[state.MSTATUS] |= FS_INITIAL
    guest.words[state.FRM] = 7
    guest.vcpu.float_written()
    assert guest.run().reason == ExitReason.MMIO_READ
    guest.program(f"li x5, {DEVICE}\nld x9, 0(x5)\nld x10, 8(x5)\necall", BASE + PAGE)
    guest.start(BASE + PAGE)
    for value in (3, 4):
        assert guest.run().reason == ExitReason.MMIO_READ
        guest.vcpu.complete_read(value)
    guest.finish()
    assert (guest.x(9), guest.x(10)) == (3, 4)


@pytest.mark.parametrize("offset", range(1, 8))
def test_an_access_over_two_pages_that_lie_apart(guest: Guest, offset: int) -> None:
    va, frames, code = 0x4000_0000, [BASE + 0xA_0000, BASE + 0x9_0000], BASE + 0x1000
    root = guest.new_table()
    guest.map(root, code, code, R | XX | LEAF)
    for i, frame in enumerate(frames):
        guest.map(root, va + i * PAGE, frame, R | W | LEAF)
    guest.program("ld x6, 0(x5)\nsd x7, 0(x5)\nlw x8, 4(x5)\necall", code)
    old, new = bytes(range(8)), bytes(range(0x81, 0x89))
    guest.ram.write(frames[0] + PAGE - offset, old[:offset])
    guest.ram.write(frames[1], old[offset:])
    guest.start(code)
    guest.use(root)
    guest.words[state.X + 5], guest.words[state.X + 7] = va + PAGE - offset, int.from_bytes(new, "little")
    guest.finish()
    assert guest.x(6) == int.from_bytes(old, "little")
    assert guest.ram.read(frames[0] + PAGE - offset, offset) + guest.ram.read(frames[1], 8 - offset) == new
    assert guest.x(8) == int.from_bytes(new[4:], "little") | 0xFFFF_FFFF << 32


@pytest.mark.parametrize(
    ("text", "cause"), [("ld x6, 0(x5)", CAUSE_LOAD_PAGE), ("sd x7, 0(x5)", CAUSE_STORE_PAGE)]
)
def test_a_fault_of_the_second_page_leaves_the_first(guest: Guest, text: str, cause: int) -> None:
    va, frame, code, handler = 0x4000_0000, BASE + 0xA_0000, BASE + 0x1000, BASE + 0x2000
    root = guest.new_table()
    for page, pa, bits in [(code, code, R | XX), (handler, handler, R | XX), (va, frame, R | W)]:
        guest.map(root, page, pa, bits | LEAF)
    guest.program(text, code)
    guest.program("ecall", handler)
    guest.start(code)
    guest.words[state.STVEC] = handler
    guest.use(root)
    guest.words[state.X + 5], guest.words[state.X + 7] = va + PAGE - 3, ONES
    guest.finish()
    assert (guest.words[state.SCAUSE], guest.words[state.STVAL]) == (cause, va + PAGE)
    assert guest.x(6) == 0
    assert guest.ram.read(frame, PAGE) == bytes(PAGE)
