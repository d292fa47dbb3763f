# SPDX-License-Identifier: Apache-2.0
"""Several harts on threads: code and translations that one changes under the feet of the others."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from innkeeper.codegen import layout as at
from innkeeper.engines.engine import ExitReason
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.jit.engine import AreaSizes
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.assembler import assemble
from tests.unit.runtime.guest import BASE, LEAF, PAGE, XX, GuardedRam, Guest, R, W

SMALL = AreaSizes(2 * at.BLOCK_CODE_BYTES, 2 * at.BLOCK_DATA_BYTES, 4)
JOIN_TIMEOUT_S = 120
HARTS = 2
FLAG = BASE + 0x9_0000
"""A page of words that harts talk through."""


def small_areas(ram: GuardedRam) -> JitEngine:
    return JitEngine(ram, sizes=SMALL)


def run_all(guest: Guest, meanwhile: Callable[[], object] | None = None) -> list[ExitReason]:
    """Run every hart to its ecall on a thread of its own; `meanwhile` again and again until all are done."""
    reasons: dict[int, ExitReason] = {}

    def run(index: int) -> None:
        reason = ExitReason.BUDGET
        for _ in range(1_000_000):
            reason = guest.vcpus[index].run(50_000).reason
            if reason != ExitReason.BUDGET:
                break
        reasons[index] = reason

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(guest.vcpus))]
    for thread in threads:
        thread.start()
    while meanwhile is not None and any(thread.is_alive() for thread in threads):
        meanwhile()
        threads[0].join(0.0005)
    for thread in threads:
        thread.join(JOIN_TIMEOUT_S)
    return [reasons[i] for i in range(len(threads))]


def blocks(guest: Guest) -> None:
    """Functions all over the pages from BASE + 0x2000 on, each with an effect of its own on x6."""
    for i in range(100):
        text = f"slli x7, x6, 13\nxor x6, x6, x7\naddi x6, x6, {i}\nsd x6, {8 * (i % 8)}(x28)\nret"
        guest.program(text, BASE + 0x2000 + i * 0x400 + 2 * (i % 3))


def calls(rng: random.Random, rounds: int) -> str:
    lines = [f"li x9, {rounds}", "loop: nop"]
    for _ in range(50):
        i = rng.randrange(100)
        lines += [f"li x5, {BASE + 0x2000 + i * 0x400 + 2 * (i % 3)}", "jalr ra, 0(x5)"]
    return "\n".join([*lines, "addi x9, x9, -1", "bnez x9, loop", "ecall"])


def ended(guest: Guest) -> list[list[int]]:
    return [list(vcpu.words[: state.X + 32]) for vcpu in guest.vcpus]


def start_all(guest: Guest, text: str) -> None:
    guest.program(text)
    for index, vcpu in enumerate(guest.vcpus):
        vcpu.reset(BASE, 1, 0, 0)
        vcpu.words[state.X + 28] = FLAG + 512 * index
        vcpu.words[state.X + 6] = index + 1


def test_harts_throw_code_away_under_each_other(rng: random.Random) -> None:
    text, results = calls(rng, 8), []
    for make in (JitEngine, small_areas):
        with Guest(make, harts=HARTS) as guest:
            blocks(guest)
            start_all(guest, text)
            assert run_all(guest) == [ExitReason.ECALL] * HARTS
            results.append((ended(guest), guest.ram.read(FLAG, PAGE)))
            assert make is JitEngine or guest.statistic("code_flushes") > 3
    assert results[0] == results[1]


def test_devices_and_fences_meanwhile(rng: random.Random) -> None:
    """Others write beside the code, and fence harts, as fast as they can: nothing changes for the program."""
    text, results = calls(rng, 8), []
    for disturb in (False, True):
        with Guest(small_areas, harts=HARTS) as guest:
            blocks(guest)
            start_all(guest, text)

            def meanwhile(guest: Guest = guest) -> None:
                guest.engine.memory_written(BASE + rng.randrange(60) * PAGE, rng.randrange(1, 20_000))
                guest.engine.remote_fence(rng.randrange(1 << HARTS), instruction=True)

            assert run_all(guest, meanwhile if disturb else None) == [ExitReason.ECALL] * HARTS
            results.append((ended(guest), guest.ram.read(FLAG, PAGE)))
    assert results[0] == results[1]


@pytest.mark.parametrize("make", [JitEngine, small_areas])
def test_a_hart_rewrites_code_for_another(make: Callable[[GuardedRam], JitEngine]) -> None:
    """Hart 0 writes an instruction and tells hart 1, which fences, executes it and answers."""
    target, rounds = BASE + 0x2000, 50
    wait = f"""li x5, {target}
        li x6, {FLAG}
        li x9, 1
        li x10, {rounds}
        wait: ld x7, 0(x6)
        bne x7, x9, wait
        fence.i
        jalr ra, 0(x5)
        bne x8, x9, end
        sd x9, 0(x28)
        addi x9, x9, 1
        bge x10, x9, wait
        end: ecall"""
    write = f"""li x5, {target}
        li x6, {FLAG}
        li x9, 1
        li x10, {rounds}
        li x11, {int.from_bytes(assemble("li x8, 0"), "little")}
        next: slli x12, x9, 20
        add x12, x12, x11
        sw x12, 0(x5)
        fence
        sd x9, 0(x6)
        answer: ld x7, 512(x6)
        bne x7, x9, answer
        addi x9, x9, 1
        bge x10, x9, next
        ecall"""
    with Guest(make, harts=HARTS) as guest:
        start_all(guest, wait)
        guest.program(write, BASE + 0x1000)
        guest.program("nop\nret", target)
        guest.vcpu.reset(BASE + 0x1000, 1, 0, 0)
        assert run_all(guest) == [ExitReason.ECALL] * HARTS
        assert [guest.ram.get64(FLAG + 512 * i) for i in range(HARTS)] == [rounds] * HARTS


def test_a_page_moves_under_a_running_hart() -> None:
    """A remote fence is done when it returns: from then on the hart writes to the new page only."""
    va, frames = 0x4000_0000, [BASE + 0xA_0000, BASE + 0xA_1000]
    code = BASE + 0x1000
    with Guest() as guest:
        root = guest.new_table()
        guest.map(root, code, code, R | XX | LEAF)
        guest.map(root, FLAG, FLAG, R | W | LEAF)
        entry = guest.map(root, va, frames[0], R | W | LEAF)
        text = "loop: addi x7, x7, 1\nsd x7, 0(x5)\nld x8, 0(x6)\nbeqz x8, loop\necall"
        guest.program(f"li x5, {va}\nli x6, {FLAG}\n{text}", code)
        guest.start(code)
        guest.use(root)
        moves = 0

        def move() -> None:
            nonlocal moves
            old, new = frames[moves % 2], frames[(moves + 1) % 2]
            guest.ram.put64(entry, new >> 2 | R | W | LEAF)
            guest.engine.remote_fence(1, instruction=False)
            guest.ram.put64(old, 0)
            moves += 1
            assert guest.ram.get64(old) == 0
            if moves == 200:
                guest.ram.put64(FLAG, 1)

        assert run_all(guest, move) == [ExitReason.ECALL]
        assert guest.ram.get64(frames[(moves + 1) % 2]) == 0
