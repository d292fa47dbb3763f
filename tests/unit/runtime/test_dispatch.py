# SPDX-License-Identifier: Apache-2.0
"""Running a hart: budgets are exact, and interrupts end loops."""

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
from innkeeper.isa.riscv.counters import retired
from innkeeper.spec.riscv import MIP_SEIP
from tests.unit.runtime.guest import BASE, Guest

FS_INITIAL = 1 << 13
JOIN_TIMEOUT_S = 60


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
