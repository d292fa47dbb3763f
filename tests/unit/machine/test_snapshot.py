# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a machine with a scripted engine: what comes back, what is stored, what is refused."""

from __future__ import annotations

import os
import random
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from innkeeper.errors import ConfigError, HostError
from innkeeper.isa.riscv import state
from innkeeper.machine import snapshot
from innkeeper.machine.machine import VirtMachine
from innkeeper.spec import board
from innkeeper.spec.board import PAGE_BYTES
from tests.unit.machine.conftest import MEMORY_BYTES, MakeRig
from tests.unit.machine.saved_machine import *  # noqa: F403
from tests.unit.machine.saved_machine import Load, memory_of, put_page, random_page, spin


def test_memory_harts_and_time_come_back(machine: VirtMachine, load: Load, tmp_path: Path) -> None:
    machine.board.uart.receive(b"typed")
    before, content = machine.time_ticks(), memory_of(machine)
    info = snapshot.save(machine, tmp_path / "one")
    again = load(tmp_path / "one")
    assert memory_of(again) == content
    assert again.harts[0].words[state.X + 5] == 0x1234
    assert again.harts[0].start_request == machine.harts[0].start_request
    assert again.board.uart.state.input == b"typed"
    assert 0 <= again.time_ticks() - before < 600 * board.TIMEBASE_HZ
    assert (info.memory_bytes, info.hart_count, info.parent, info.bases) == (MEMORY_BYTES, 1, None, ())
    assert snapshot.verify(tmp_path / "one") == snapshot.read_info(tmp_path / "one") == info


def test_what_is_equal_or_zero_is_not_stored(machine: VirtMachine, tmp_path: Path) -> None:
    info = snapshot.save(machine, tmp_path / "one")
    random_pages = 1 + 150 + 1
    assert info.stored_bytes < (random_pages + 20) * PAGE_BYTES


def test_a_restored_machine_runs_on_instead_of_booting(
    machine: VirtMachine, make_rig: MakeRig, tmp_path: Path
) -> None:
    snapshot.save(machine, tmp_path / "one")
    rig = make_rig(spin)
    snapshot.load(rig.machine, tmp_path / "one")
    running = rig.start()
    assert rig.engine.spinning.wait(10)
    assert rig.engine.vcpus[0].resets[-1][0] == board.RAM_BASE + board.KERNEL_OFFSET
    # A boot would have placed the kernel anew, over what the guest has written there.
    content = memory_of(machine)
    assert rig.machine.at_rest(lambda: memory_of(rig.machine)) == content
    rig.machine.stop()
    running.wait()


def test_writes_after_a_restore_stay_in_that_machine(
    machine: VirtMachine, load: Load, tmp_path: Path
) -> None:
    content = memory_of(machine)
    snapshot.save(machine, tmp_path / "one")
    first, second = load(tmp_path / "one"), load(tmp_path / "one")
    put_page(first, 4000, b"\1" * PAGE_BYTES)
    assert memory_of(second) == content
    first.memory.clear()
    assert memory_of(first) == bytes(MEMORY_BYTES), "a reset begins with zeroes"
    assert memory_of(load(tmp_path / "one")) == content


def test_a_child_stores_only_what_its_parents_do_not_have(
    machine: VirtMachine, load: Load, tmp_path: Path
) -> None:
    """A chain of three, the second of a restored machine, the third of one restored from that."""
    snapshot.save(machine, tmp_path / "one")
    second = load(tmp_path / "one")
    choose = random.Random(2)
    put_page(second, 4001, random_page(choose))
    put_page(second, 4002, bytes(PAGE_BYTES))
    put_page(second, 7000, machine.memory.read(board.RAM_BASE + 4010 * PAGE_BYTES, PAGE_BYTES))
    info = snapshot.save(second, tmp_path / "two", tmp_path / "one")
    assert (info.parent, info.bases) == ("one", ("one",))
    assert (tmp_path / "two" / "memory.pack").stat().st_size < 2 * PAGE_BYTES
    third = load(tmp_path / "two")
    assert memory_of(third) == memory_of(second)
    put_page(third, 4003, random_page(choose))
    put_page(third, 4002, machine.memory.read(board.RAM_BASE + 4002 * PAGE_BYTES, PAGE_BYTES))
    info = snapshot.save(third, tmp_path / "three", tmp_path / "two")
    assert info.bases == ("two", "one")
    assert (tmp_path / "three" / "memory.pack").stat().st_size < 2 * PAGE_BYTES
    assert memory_of(load(tmp_path / "three")) == memory_of(third)
    snapshot.verify(tmp_path / "three")
    assert snapshot.dependents(tmp_path / "one") == ["three", "two"]
    assert snapshot.dependents(tmp_path / "three") == []


def test_a_parent_that_the_machine_was_not_restored_from_serves_as_well(
    machine: VirtMachine, load: Load, tmp_path: Path
) -> None:
    snapshot.save(machine, tmp_path / "one")
    other = load(tmp_path / "one")
    put_page(other, 4001, b"x" * PAGE_BYTES)
    snapshot.save(other, tmp_path / "side")
    assert snapshot.read_info(tmp_path / "side").bases == ()
    assert memory_of(load(tmp_path / "side")) == memory_of(other)
    info = snapshot.save(other, tmp_path / "two", tmp_path / "side")
    assert (tmp_path / "two" / "memory.pack").stat().st_size == 0
    assert info.bases == ("side",)
    assert memory_of(load(tmp_path / "two")) == memory_of(other)


def test_further_files_and_what_is_said_of_them_are_kept(machine: VirtMachine, tmp_path: Path) -> None:
    def add(folder: Path) -> dict[str, object]:
        (folder / "disk0.overlay").write_bytes(b"disk" * 1000)
        return {"disks": ["disk0.overlay"]}

    info = snapshot.save(machine, tmp_path / "one", add_files=add)
    assert info.extra == {"disks": ["disk0.overlay"]}
    snapshot.verify(tmp_path / "one")
    (tmp_path / "one" / "disk0.overlay").write_bytes(b"Disk" * 1000)
    with pytest.raises(ConfigError, match=r"disk0\.overlay has a wrong checksum"):
        snapshot.verify(tmp_path / "one")


def test_a_machine_that_has_not_started_has_nothing_to_save(make_rig: MakeRig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not started"):
        snapshot.save(make_rig(spin).machine, tmp_path / "one")


def test_names_and_parents_that_cannot_be(machine: VirtMachine, tmp_path: Path) -> None:
    snapshot.save(machine, tmp_path / "one")
    with pytest.raises(ConfigError, match="exists already"):
        snapshot.save(machine, tmp_path / "one")
    with pytest.raises(ConfigError, match="no name for a snapshot"):
        snapshot.save(machine, tmp_path / ".hidden")
    with pytest.raises(ConfigError, match="no snapshot"):
        snapshot.save(machine, tmp_path / "two", tmp_path / "missing")
    with pytest.raises(ConfigError, match="beside"):
        snapshot.save(machine, tmp_path / "one" / "two", tmp_path / "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Image", "one"]


def test_another_machine_is_refused_with_what_differs(
    machine: VirtMachine, make_rig: MakeRig, tmp_path: Path
) -> None:
    snapshot.save(machine, tmp_path / "one")
    other = make_rig(spin, cpus=2).machine
    with pytest.raises(ConfigError, match=r"hart count 1 \(here 2\)"):
        snapshot.load(other, tmp_path / "one")


# The sparse copy.


def test_the_sparse_copy_is_made_once_and_again_if_it_was_touched(
    machine: VirtMachine, load: Load, tmp_path: Path
) -> None:
    snapshot.save(machine, tmp_path / "one")
    snapshot.prepare(tmp_path / "one")
    raw = tmp_path / "one" / "memory.raw"
    first = raw.stat()
    assert first.st_mode & 0o777 == 0o600 and first.st_blocks * 512 < MEMORY_BYTES // 8
    load(tmp_path / "one")
    snapshot.prepare(tmp_path / "one")
    assert raw.stat().st_ino == first.st_ino
    with open(raw, "r+b") as file:
        file.write(b"changed")
    assert memory_of(load(tmp_path / "one")) == memory_of(machine)
    assert raw.stat().st_ino != first.st_ino
    raw.chmod(0o666)
    second = raw.stat()
    load(tmp_path / "one")
    assert raw.stat().st_ino != second.st_ino, "others may have written it"


def test_a_copied_snapshot_is_whole(machine: VirtMachine, load: Load, tmp_path: Path) -> None:
    snapshot.save(machine, tmp_path / "one")
    snapshot.prepare(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "elsewhere" / "other")
    assert memory_of(load(tmp_path / "elsewhere" / "other")) == memory_of(machine)


# Writers that cannot write.


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Lets no file become longer than so many bytes: what a full disk is, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [0, 100, 4096, 300_000])
def test_a_full_disk_leaves_nothing(
    machine: VirtMachine, tmp_path: Path, small_files: Callable[[int], None], limit: int
) -> None:
    small_files(limit)
    with pytest.raises(HostError) as caught:
        snapshot.save(machine, tmp_path / "one")
    assert "one cannot be written" in caught.value.message and "room" in caught.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["Image"]


def test_a_full_disk_leaves_the_snapshot_when_it_is_unpacked(
    machine: VirtMachine, load: Load, tmp_path: Path, small_files: Callable[[int], None]
) -> None:
    snapshot.save(machine, tmp_path / "one")
    before = sorted(path.name for path in (tmp_path / "one").iterdir())
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    small_files(1 << 20)
    with pytest.raises(HostError, match="cannot be unpacked"):
        snapshot.prepare(tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == before
    small_files(soft)
    load(tmp_path / "one")


def test_an_exception_while_files_are_added_leaves_nothing(machine: VirtMachine, tmp_path: Path) -> None:
    def add(folder: Path) -> dict[str, object]:
        (folder / "disk").write_bytes(b"x")
        raise HostError("no disk")

    with pytest.raises(HostError, match="no disk"):
        snapshot.save(machine, tmp_path / "one", add_files=add)
    assert [path.name for path in tmp_path.iterdir()] == ["Image"]


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    gone = tmp_path / ".one.4194305.part"
    living = tmp_path / f".two.{os.getpid()}.part"
    other = tmp_path / ".three"
    for folder in (gone, living, other):
        folder.mkdir()
    (gone / "memory.pack").write_bytes(b"x")
    snapshot.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((living.name, other.name))
