# SPDX-License-Identifier: Apache-2.0
"""Snapshots over stand-in VMMs: their records, folders, parents, and what a failure leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from innkeeper.api.models import SnapshotCreate, SnapshotRestore
from innkeeper.api.places import Places
from innkeeper.api.problems import ConflictError
from innkeeper.hypervisor import own_disks, snapshots
from innkeeper.hypervisor.hypervisor import Hypervisor
from innkeeper.hypervisor.records import SnapshotRecord
from tests.unit.hypervisor.test_lifecycle import done, launch

Run = Callable[..., Any]


async def take(hypervisor: Hypervisor, vm: Any, name: str | None = None) -> SnapshotRecord:
    operation = await done(hypervisor, await snapshots.take(hypervisor, vm, SnapshotCreate(name=name)))
    return hypervisor.snapshots[operation.snapshot or ""]


def test_a_tree_of_snapshots(run: Run, places: Places) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        vm = await launch(hypervisor, name="a")
        first, second = await take(hypervisor, vm, "one"), await take(hypervisor, vm)
        assert (first.parent_id, second.parent_id) == (None, first.id)
        told = json.loads((places.snapshot(second.id) / "snapshot.json").read_text())
        assert told == {"parent": str(places.snapshot(first.id))}
        assert second.size_bytes > 100_000 and second.pause_ns == 5_000_000
        assert snapshots.find(hypervisor, "one") is snapshots.find(hypervisor, first.id[:5]) is first
        with pytest.raises(ConflictError, match=second.name):
            await snapshots.remove(hypervisor, first)
        with pytest.raises(ConflictError, match="already"):
            await snapshots.take(hypervisor, vm, SnapshotCreate(name="one"))
        await done(hypervisor, await hypervisor.remove(vm, force=True))
        await done(hypervisor, await snapshots.remove(hypervisor, second))
        await done(hypervisor, await snapshots.remove(hypervisor, first))
        assert snapshots.select(hypervisor) == [] and list(places.snapshots.iterdir()) == []

    run(scenario)


def test_restored_as_a_new_vm_or_in_place(run: Run, places: Places) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        vm = await launch(hypervisor, name="a")
        snapshot = await take(hypervisor, vm)
        operation = await snapshots.restore(hypervisor, snapshot, SnapshotRestore(name="b"))
        other = hypervisor.vms[(await done(hypervisor, operation)).vms[0]]
        assert (places.vm(other.id) / "restored").read_text() == str(places.snapshot(snapshot.id))
        assert other.record.restore_from is None and other.record.last_snapshot == snapshot.id
        assert other.record.generation != vm.record.generation
        overlay = places.vm(vm.id) / "disks/root.overlay"
        overlay.write_bytes(b"later")
        generation = vm.record.generation
        operation = await snapshots.restore(hypervisor, snapshot, SnapshotRestore(in_place=True))
        await done(hypervisor, operation)
        assert vm.state == "running" and vm.record.generation != generation
        assert not overlay.exists() and not (places.vm(vm.id) / own_disks.ASIDE).exists()

    run(scenario)


def test_a_snapshot_that_cannot_be_restored_costs_nothing(run: Run, places: Places) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        vm = await launch(hypervisor, name="a")
        snapshot = await take(hypervisor, vm)
        overlay = places.vm(vm.id) / "disks/root.overlay"
        overlay.write_bytes(b"later")
        damaged = vm.record.settings.__class__(
            **{**vm.record.settings.__dict__, "append": "fail=the_snapshot_is_damaged"}
        )
        good = vm.record.settings
        await vm.update(settings=damaged)
        operation = await snapshots.restore(hypervisor, snapshot, SnapshotRestore(in_place=True))
        ended = await hypervisor.operations.wait(operation.id, 60)
        assert ended.problem is not None and "the snapshot is damaged" in ended.problem.detail
        assert overlay.read_bytes() == b"later" and vm.record.restore_from is None
        await vm.update(settings=good)
        await vm.start()
        assert vm.state == "running" and overlay.read_bytes() == b"later"

    run(scenario)


def test_a_full_disk_leaves_no_snapshot(run: Run, places: Places) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        vm = await launch(hypervisor, name="a", append="full")
        operation = await snapshots.take(hypervisor, vm, SnapshotCreate())
        ended = await hypervisor.operations.wait(operation.id, 60)
        assert ended.problem is not None and "no room" in ended.problem.detail
        assert hypervisor.snapshots == {} and hypervisor.services.store.intents() == []
        assert not list(places.snapshots.glob("*")) and vm.state == "running"

    run(scenario)


def test_putting_aside_can_be_ended_anywhere(tmp_path: Path) -> None:
    (tmp_path / "disks").mkdir()
    (tmp_path / "disks/root.overlay").write_text("own")
    for _ in range(2):
        own_disks.set_aside(tmp_path)
        (tmp_path / "disks/root.overlay").write_text("of the snapshot")
    own_disks.bring_back(tmp_path)
    own_disks.bring_back(tmp_path)
    assert (tmp_path / "disks/root.overlay").read_text() == "own"
    own_disks.set_aside(tmp_path)
    own_disks.forget(tmp_path)
    own_disks.forget(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disks"]
