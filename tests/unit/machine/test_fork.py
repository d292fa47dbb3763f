# SPDX-License-Identifier: Apache-2.0
"""Forks and live snapshots of a machine with a scripted engine, and writers that are killed."""

from __future__ import annotations

import os
import random
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.engines.engine import Exit
from innkeeper.errors import ConfigError, HostError
from innkeeper.isa.riscv import state
from innkeeper.machine import snapshot
from innkeeper.machine.fork import LiveSnapshot, fork, save_live
from innkeeper.spec import board
from innkeeper.spec.board import PAGE_BYTES
from tests.unit.machine.conftest import MakeRig, Rig, Running
from tests.unit.machine.scripted import ScriptedVcpu

TIMEOUT_S = 20
KILLS = 100
ADDRESS = board.RAM_BASE + 4000 * PAGE_BYTES


def spin(vcpu: ScriptedVcpu) -> Iterator[Exit]:
    yield from ()


@pytest.fixture
def spinning(make_rig: MakeRig) -> Iterator[tuple[Rig, Running]]:
    """A machine that runs, with some memory to write."""
    rig = make_rig(spin)
    running = rig.start()
    assert rig.engine.spinning.wait(TIMEOUT_S)
    choose = random.Random(1)
    with rig.machine.lock:
        for number in range(1000):
            rig.machine.memory.write(ADDRESS + number * PAGE_BYTES, choose.randbytes(PAGE_BYTES))
    yield rig, running
    rig.machine.stop()
    running.wait()


def answer_of(reader: int) -> bytes:
    """What a child wrote before it ended."""
    assert select.select([reader], [], [], TIMEOUT_S)[0], "the child does not answer"
    data = b""
    while piece := os.read(reader, 4096):
        data += piece
    os.close(reader)
    return data


def test_parent_and_children_go_on_by_themselves(spinning: tuple[Rig, Running]) -> None:
    rig, _ = spinning
    machine = rig.machine
    machine.memory.write(ADDRESS, b"before")
    reader, writer = os.pipe()

    pids: list[int] = []

    def work() -> None:
        number = fork(machine, 2, pids)
        if number is not None:
            os.close(reader)
            machine.memory.write(ADDRESS, b"child%d" % number)
            threading.Thread(target=child, daemon=True).start()

    def child() -> None:
        """The harts run, the I/O loop works, and a rest can be had, all in threads of the child's own."""
        try:
            runs = machine.at_rest(lambda: rig.engine.vcpus[0].runs)
            done = threading.Event()
            machine.defer(done.set)
            assert done.wait(TIMEOUT_S)
            deadline = time.monotonic() + TIMEOUT_S
            while rig.engine.vcpus[0].runs <= runs:
                assert time.monotonic() < deadline
            os.write(writer, machine.memory.read(ADDRESS, 6))
        finally:
            os._exit(0)

    machine.at_rest(work)
    os.close(writer)
    machine.memory.write(ADDRESS, b"parent")
    assert answer_of(reader) in (b"child0child1", b"child1child0")
    assert len(pids) == 2
    for pid in pids:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert machine.memory.read(ADDRESS, 6) == b"parent"
    assert rig.engine.forks == [False]
    rig.engine.spinning.clear()
    assert rig.engine.spinning.wait(TIMEOUT_S), "the parent does not go on"


def test_the_child_of_a_paused_machine_runs(spinning: tuple[Rig, Running]) -> None:
    rig, _ = spinning
    machine = rig.machine
    machine.pause()
    reader, writer = os.pipe()

    def work() -> None:
        if fork(machine, 1, []) is not None:
            os.close(reader)
            rig.engine.spinning = threading.Event()
            threading.Thread(target=child, daemon=True).start()

    def child() -> None:
        try:
            if not machine.is_paused and rig.engine.spinning.wait(TIMEOUT_S):
                os.write(writer, b"runs")
        finally:
            os._exit(0)

    machine.at_rest(work)
    os.close(writer)
    assert answer_of(reader) == b"runs"
    assert machine.is_paused
    machine.resume()


def test_work_that_fails_in_the_child_ends_the_childs_run(make_rig: MakeRig) -> None:
    rig = make_rig(spin)
    reader, writer = os.pipe()

    def run() -> None:
        pid = os.getpid()
        try:
            rig.machine.run()
        except ValueError:
            os.write(writer, b"raised")
        finally:
            if os.getpid() != pid:
                os._exit(0)

    running = threading.Thread(target=run)
    running.start()

    def work() -> None:
        if fork(rig.machine, 1, []) is not None:
            raise ValueError

    rig.machine.at_rest(work)
    os.close(writer)
    assert answer_of(reader) == b"raised"
    rig.machine.stop()
    running.join(TIMEOUT_S)


def live(rig: Rig, folder: Path, parent: Path | None = None) -> LiveSnapshot:
    return rig.machine.at_rest(lambda: save_live(rig.machine, folder, parent))


def test_a_live_snapshot_holds_the_moment_it_was_taken(
    spinning: tuple[Rig, Running], make_rig: MakeRig, tmp_path: Path
) -> None:
    rig, _ = spinning
    machine = rig.machine
    words = machine.harts[0].words

    def work() -> tuple[LiveSnapshot, int, bytes]:
        retired, content = machine.harts[0].retired(), bytes(machine.memory.buffer)
        return save_live(machine, tmp_path / "one"), retired, content

    writer, retired, content = machine.at_rest(work)
    machine.memory.write(ADDRESS, b"afterwards")
    assert select.select([writer], [], [], TIMEOUT_S)[0]
    info = writer.finish()
    assert writer.fileno() == -1
    assert words[state.INSTRET] > retired, "the machine goes on"
    other = make_rig(spin).machine
    assert snapshot.load(other, tmp_path / "one") == info
    assert bytes(other.memory.buffer) == content
    assert other.harts[0].retired() == retired


def test_what_the_writer_meets_is_told(spinning: tuple[Rig, Running], tmp_path: Path) -> None:
    rig, _ = spinning
    with pytest.raises(ConfigError, match="no snapshot"):
        live(rig, tmp_path / "one", tmp_path / "missing").finish()
    with pytest.raises(HostError, match="cannot be written"):
        live(rig, tmp_path / "missing" / "one").finish()
    (tmp_path / "two").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        live(rig, tmp_path / "two")


def test_the_writer_keeps_no_file_of_the_machine_open(spinning: tuple[Rig, Running], tmp_path: Path) -> None:
    rig, _ = spinning
    reader, writer = os.pipe()
    child = live(rig, tmp_path / "one")
    os.close(writer)
    assert answer_of(reader) == b""
    child.finish()


def test_writers_that_are_killed_leave_nothing_or_all(spinning: tuple[Rig, Running], tmp_path: Path) -> None:
    """At random moments; `seed` is fixed, the moments are not."""
    rig, _ = spinning
    choose = random.Random(4)
    started = time.monotonic()
    live(rig, tmp_path / "first").finish()
    usual_s = time.monotonic() - started
    whole = 0
    for number in range(KILLS):
        folder = tmp_path / f"s{number}"
        child = live(rig, folder)
        # The child is done, or the time is up.
        select.select([child], [], [], choose.random() * 1.2 * usual_s)
        os.kill(child.pid, signal.SIGKILL)
        try:
            child.finish()
        except HostError as error:
            assert "ended early" in error.message
        if folder.exists():
            snapshot.verify(folder)
            whole += 1
        left = {path.name for path in tmp_path.iterdir()} - {"Image", "first", folder.name}
        assert not [name for name in left if name.endswith(".part")]
    assert whole < KILLS, "none was killed in time"


def test_a_cancelled_snapshot_is_gone(spinning: tuple[Rig, Running], tmp_path: Path) -> None:
    rig, _ = spinning
    child = live(rig, tmp_path / "one")
    child.cancel()
    child.cancel()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_many_forks_leave_no_descriptors_in_the_parent(spinning: tuple[Rig, Running], tmp_path: Path) -> None:
    rig, _ = spinning
    live(rig, tmp_path / "one").finish()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(5):
        live(rig, tmp_path / f"s{number}").finish()
    assert len(os.listdir("/proc/self/fd")) == before
