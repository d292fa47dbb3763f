# SPDX-License-Identifier: Apache-2.0
"""The jit engine over a fork: what is translated is shared, and neither side hears of what the other adds."""

from __future__ import annotations

import itertools
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from innkeeper.codegen import layout as at
from innkeeper.engines.engine import ExitReason
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.jit.compile_client import CompileClient
from innkeeper.engines.jit.engine import AreaSizes
from innkeeper.engines.jit.optimizer import Wanted
from innkeeper.isa.riscv.assembler import assemble
from tests.unit.runtime.guest import BASE, GuardedRam, Guest

FUNCTIONS = 24
STEP = 0x1000
TABLE = BASE + 0x8_0000


def make_guest(sizes: AreaSizes | None = None) -> Guest:
    """Functions in pages of their own, each of which adds its number to x6; the main program calls x7."""

    def make(ram: GuardedRam) -> JitEngine:
        return JitEngine(ram, sizes=sizes or AreaSizes())

    guest = Guest(make)
    for number in range(FUNCTIONS):
        body = "slli x9, x6, 1\nsrli x9, x9, 1\n" * 20
        guest.program(f"{body}addi x6, x6, {number}\nret", BASE + 0x4000 + number * STEP)
    guest.program("li x6, 0\njalr ra, 0(x7)\necall")
    return guest


def call(guest: Guest, number: int) -> int:
    guest.start()
    guest.words[7] = BASE + 0x4000 + number * STEP
    assert guest.run().reason == ExitReason.ECALL
    return guest.x(6)


def in_child(guest: Guest, work: Callable[[], object]) -> str:
    """Fork as the machine does; what `work` gives in the child, as text."""
    reader, writer = os.pipe()
    guard = guest.engine.before_fork()
    pid = os.fork()
    if pid == 0:
        try:
            guard.finish(is_child=True)
            os.write(writer, repr(work()).encode())
        except BaseException as error:
            os.write(writer, f"failed: {error!r}".encode())
        finally:
            os._exit(0)
    guard.finish(is_child=False)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read().decode()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return text


@pytest.fixture
def guest() -> Iterator[Guest]:
    with make_guest() as made:
        yield made


def test_the_child_executes_what_was_translated_before(guest: Guest) -> None:
    assert call(guest, 5) == 5
    before = guest.statistic("translated_instructions")
    assert in_child(guest, lambda: (call(guest, 5), guest.statistic("translated_instructions"))) == repr(
        (5, before)
    )


def test_both_sides_translate_on_without_harm_to_the_other(guest: Guest) -> None:
    """Child and parent put different code behind the shared code; then the child forks again."""
    call(guest, 0)

    def child() -> list[object]:
        found: list[object] = [call(guest, number) for number in range(1, 12)]
        found.append(in_child(guest, lambda: [call(guest, number) for number in range(FUNCTIONS)]))
        return [*found, *(call(guest, number) for number in range(FUNCTIONS))]

    reader, writer = os.pipe()
    guard = guest.engine.before_fork()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(writer)
            guard.finish(is_child=True)
            os.read(reader, 1)  # until the parent has translated
            right = child() == [*range(1, 12), repr(list(range(FUNCTIONS))), *range(FUNCTIONS)]
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    guard.finish(is_child=False)
    assert [call(guest, number) for number in range(FUNCTIONS - 1, 0, -1)] == list(
        range(FUNCTIONS - 1, 0, -1)
    )
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(reader)
    assert [call(guest, number) for number in range(FUNCTIONS)] == list(range(FUNCTIONS))


def test_code_that_is_thrown_away_on_one_side_stays_on_the_other(guest: Guest) -> None:
    """The guest's code changes in the child, which throws all of its away too."""
    call(guest, 3)

    def child() -> list[int]:
        guest.program("addi x6, x6, 100\nret", BASE + 0x4000 + 3 * STEP)
        guest.engine.memory_written(BASE, guest.ram.size_bytes)
        found = [call(guest, 3)]
        drop_all(guest)
        return [*found, *(call(guest, number) for number in range(3, 6))]

    assert in_child(guest, child) == repr([100, 100, 4, 5])
    assert call(guest, 3) == 3
    drop_all(guest)
    assert in_child(guest, lambda: call(guest, 3)) == "3"
    assert call(guest, 3) == 3


def drop_all(guest: Guest) -> None:
    observer = guest.engine.observer_address
    for name in ("hold_code", "drop_held_code", "release_code"):
        guest.engine.function(name, 1)(observer)


def test_when_most_of_the_area_is_shared_it_begins_in_new_memory() -> None:
    """The areas are small: forks use them up, whatever runs in between."""
    sizes = AreaSizes(4 * at.BLOCK_CODE_BYTES, 8 * at.BLOCK_DATA_BYTES, 4096)
    with make_guest(sizes) as guest:
        call(guest, 1)
        first = guest.engine.shared[at.CODE_FIRST]
        firsts = []
        for number in range(60):
            assert in_child(guest, lambda number=number: call(guest, number % FUNCTIONS)) == str(
                number % FUNCTIONS
            )
            firsts.append(guest.engine.shared[at.CODE_FIRST])
            drop_all(guest)
            assert call(guest, (number + 1) % FUNCTIONS) == (number + 1) % FUNCTIONS
        assert any(later < earlier for earlier, later in itertools.pairwise(firsts))
        assert first < max(firsts) <= guest.engine.code.address + guest.engine.code.size_bytes


def test_shared_code_can_be_written_by_nobody(guest: Guest) -> None:
    call(guest, 1)
    guest.engine.before_fork().finish(is_child=False)
    area = guest.engine.code
    writable = (area.address + area.write_offset) & (1 << 64) - 1
    lines = Path("/proc/self/maps").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{writable:x}-")]
    assert re.search(r" ---s ", line), line
    assert call(guest, 2) == 2


def test_a_fork_that_fails_leaves_the_engine_as_it_was(guest: Guest) -> None:
    assert call(guest, 1) == 1
    guest.engine.before_fork().finish(is_child=False)
    assert [call(guest, number) for number in range(FUNCTIONS)] == list(range(FUNCTIONS))


def test_the_child_does_not_speak_on_its_parents_connection(tmp_path: Path) -> None:
    """A worker hears the parent's request once, whole, and nothing of the child's."""
    ours, theirs = socket.socketpair()
    client = CompileClient("0", tmp_path)
    client._connection = ours
    stream = ours.makefile("rwb")
    client._stream = stream  # type: ignore[assignment]
    stream.write(b"half of a requ")
    if (pid := os.fork()) == 0:
        try:
            theirs.close()
            client.abandon()
            asked = client.compile(assemble("ret").ljust(4096, b"\0"), (0,), Wanted.ANY)
            os._exit(0 if asked is None else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    stream.write(b"est")
    stream.flush()
    theirs.settimeout(10)
    assert theirs.recv(4096) == b"half of a request"
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)
    ours.close()
    theirs.close()


def test_an_idle_child_has_no_optimizer_and_a_busy_one_has(tmp_path: Path) -> None:
    with make_guest() as guest:
        engine: JitEngine = guest.engine
        # Another version than ours: no worker of this user's is asked.
        engine.start_default_optimizer("test", tmp_path)
        guest.program("loop: addi x6, x6, 1\nj loop", BASE + 0x3000)

        def child() -> tuple[str, bool, str]:
            before = type(engine.optimizer).__name__
            engine.optimizer.poll()
            idle = type(engine.optimizer).__name__ == before
            guest.start(BASE + 0x3000)
            guest.run(20_000_000)
            return before, idle, type(engine.optimizer).__name__

        assert in_child(guest, child) == repr(("LaterOptimizer", True, "Optimizer"))
        assert type(engine.optimizer).__name__ == "Optimizer"
