# SPDX-License-Identifier: Apache-2.0
"""Running a hart: budgets are exact, interrupts end loops, exits say exactly what happened where."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Iterator

import pytest

from innkeeper.engines.engine import Exit, ExitReason
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.assembler import assemble
from innkeeper.isa.riscv.counters import retired
from innkeeper.spec.riscv import MIP_SEIP
from tests.unit.runtime.guest import BASE, PAGE, Guest

DEVICE = 0x1000_0000
FS_INITIAL = 1 << 13
JOIN_TIMEOUT_S = 60
ONES = (1 << 64) - 1


@pytest.fixture
def guest() -> Iterator[Guest]:
    with Guest() as made:
        yield made


def random_program(rng: random.Random) -> str:
    """An endless program: arithmetic, memory, branches over some lines, calls, system instructions, traps."""
    lines = [f"li x5, {BASE + 0x8000}", f"li x31, {BASE + 0x4000}", "csrw stvec, x31", "begin: nop"]
    for number in range(rng.randrange(5, 200)):
        kind = rng.randrange(9)
        register = rng.randrange(6, 12)
        other = rng.randrange(6, 12)
        lines.append(f"at{number}:")
        if kind < 3:
            lines.append(
                f"{rng.choice(['add', 'sub', 'xor', 'mul', 'sltu'])} x{register}, x{other}, x{register}"
            )
        elif kind == 3:
            lines.append(f"sd x{register}, {8 * rng.randrange(64)}(x5)")
        elif kind == 4:
            lines.append(f"ld x{register}, {8 * rng.randrange(64)}(x5)")
        elif kind == 5:
            lines += [
                f"{rng.choice(['beq', 'bltu', 'bge'])} x{register}, x{other}, .+{4 * rng.randrange(1, 4)}"
            ]
            lines += ["addi x6, x6, 1"] * 3
        elif kind == 6:
            lines.append(rng.choice(["csrr x7, instret", "fence.i", "sfence.vma", "csrw sscratch, x6"]))
        elif kind == 7:
            lines.append(rng.choice([".4byte 0", "ebreak", "c.nop", "c.addi s0, 1"]))
        else:
            lines += [f"jal x30, .+{4 * rng.randrange(1, 3)}", "addi x8, x8, 3"]
    return "\n".join([*lines, "j begin"])


SKIP = "csrr x30, sepc; addi x30, x30, 4; csrw sepc, x30; sret"
"""Goes on behind what trapped; the zeroes of `.4byte 0` are two illegal instructions."""


def load(guest: Guest, text: str) -> None:
    guest.program(text)
    guest.program(SKIP, BASE + 0x4000)
    guest.start()


def test_a_run_retires_exactly_its_budget(guest: Guest, rng: random.Random) -> None:
    for _ in range(30):
        load(guest, random_program(rng))
        guest.engine.memory_written(BASE, 0x8000)
        guest.vcpu.flush()
        before = retired(guest.words)
        for _ in range(50):
            budget = rng.choice([0, 1, 2, 3, 31, 63, 64, 65, 100, 20_001, rng.randrange(3000)])
            assert guest.run(budget).reason == ExitReason.BUDGET
            assert retired(guest.words) - before == budget
            before = retired(guest.words)


def test_slices_end_where_one_run_does(rng: random.Random) -> None:
    for _ in range(20):
        text, total = random_program(rng), rng.randrange(1, 3000)
        ended = []
        for make, cut in (
            (JitEngine, total),
            (JitEngine, 1),
            (JitEngine, rng.randrange(1, 80)),
            (ReferenceEngine, total),
        ):
            with Guest(make) as guest:
                load(guest, text)
                for at in range(0, total, cut):
                    assert guest.run(min(cut, total - at)).reason == ExitReason.BUDGET
                words = [
                    *range(state.SCRAP),
                    state.PC,
                    state.SEPC,
                    state.SCAUSE,
                    state.INSTRET,
                    state.TRAP_COUNT,
                ]
                ended.append(([guest.words[i] for i in words], bytes(guest.ram.buffer)))
        assert ended[1:] == ended[:1] * 3, text


def test_a_budget_larger_than_a_slice(guest: Guest) -> None:
    guest.program("loop: addi x6, x6, 1\nj loop")
    guest.start()
    assert guest.run(1_000_001).reason == ExitReason.BUDGET
    assert guest.x(6) == 500_001


@pytest.mark.parametrize(
    "loop",
    [
        "loop: j loop",
        "li x5, 0x80001000\nloop: csrw stvec, x5\n.2byte 0\nj loop",
        "li x5, 1\ncsrw stvec, x5\n.2byte 0",
    ],
)
def test_interrupt_ends_a_loop(guest: Guest, loop: str) -> None:
    """A tight one, one of traps, and one of fetches that fault where the handler should be."""
    guest.program(loop)
    guest.program(".2byte 0", BASE + 0x1000)
    guest.start()
    left: list[Exit] = []
    thread = threading.Thread(target=lambda: left.append(guest.run(1 << 62)))
    thread.start()
    while not guest.statistic("slices"):
        pass
    guest.vcpu.interrupt()
    thread.join(JOIN_TIMEOUT_S)
    assert [one.reason for one in left] == [ExitReason.INTERRUPTED]
    assert guest.run(10).reason == ExitReason.BUDGET


def test_an_interrupt_before_the_run_is_not_lost(guest: Guest) -> None:
    guest.program("loop: j loop")
    guest.start()
    guest.vcpu.interrupt()
    assert guest.run(5).reason == ExitReason.INTERRUPTED
    assert guest.run(5).reason == ExitReason.BUDGET


def test_a_line_interrupts_within_a_slice(guest: Guest) -> None:
    guest.program(
        f"""li x5, {MIP_SEIP}
        csrs sie, x5
        li x5, {BASE + 0x1000}
        csrw stvec, x5
        csrrsi x0, sstatus, 2
        loop: j loop"""
    )
    guest.program("ecall", BASE + 0x1000)
    guest.start()
    guest.run(100)
    guest.vcpu.set_interrupt(MIP_SEIP, 1)
    guest.finish()
    assert guest.words[state.SCAUSE] == 1 << 63 | 9


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


def test_wfi_leaves_idle_behind_itself(guest: Guest) -> None:
    guest.program("wfi\naddi x6, x6, 1\necall")
    guest.start()
    assert guest.run().reason == ExitReason.IDLE
    assert guest.words[state.PC] == BASE + 4
    guest.finish()
    assert guest.x(6) == 1


def test_host_rounding_and_flags_are_kept_from_the_guest(guest: Guest) -> None:
    """A guest that rounds down and divides by zero changes nothing for the host."""
    guest.program("fcvt.d.l f1, x6; li x7, 3; fcvt.d.l f2, x7; fdiv.d f3, f2, f1; csrr x8, fflags; ecall")
    guest.start()
    guest.words[state.MSTATUS] |= FS_INITIAL
    guest.words[state.FRM] = 2
    guest.vcpu.float_written()
    guest.finish()
    assert guest.x(8) == 8
    assert guest.words[state.F + 3] == struct.unpack("<Q", struct.pack("<d", float("inf")))[0]
    assert 1 / 3 + 1 / 3 == 2 / 3
    assert struct.pack("<d", 0.1 + 0.2) == bytes.fromhex("343333333333d33f")
