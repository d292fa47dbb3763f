# SPDX-License-Identifier: Apache-2.0
"""Snapshots of VMs: taken, restored, removed. What is in them is for the VMM to know."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace

from innkeeper.api import models
from innkeeper.api.problems import ConflictError, NotFoundError
from innkeeper.hypervisor.changes import begin, drop_snapshot, end, put_snapshot
from innkeeper.hypervisor.configs import new_generation, new_id
from innkeeper.hypervisor.folders import remove_unfinished, size_bytes
from innkeeper.hypervisor.hypervisor import PREFIX_MIN, Hypervisor
from innkeeper.hypervisor.names import new_name
from innkeeper.hypervisor.networks import of_copy
from innkeeper.hypervisor.operations import Outcome, Progress
from innkeeper.hypervisor.records import Intent, NewEvent, SnapshotRecord
from innkeeper.hypervisor.vm import Vm

SNAPSHOT_TIMEOUT_S = 3600.0


def find(hypervisor: Hypervisor, reference: str) -> SnapshotRecord:
    """The snapshot with this name, id, or beginning of an id. NotFoundError if there is none."""
    for record in hypervisor.snapshots.values():
        if record.name == reference:
            return record
    found = [record for key, record in hypervisor.snapshots.items() if key.startswith(reference)]
    if len(found) == 1 and len(reference) >= PREFIX_MIN:
        return found[0]
    raise NotFoundError(f"there is no snapshot '{reference}'", "inn snapshots lists them")


def select(hypervisor: Hypervisor, vm_id: str | None = None) -> list[SnapshotRecord]:
    """The snapshots, of one VM or of all, the oldest first."""
    records = sorted(hypervisor.snapshots.values(), key=lambda record: (record.created_ns, record.id))
    return [record for record in records if vm_id in (None, record.vm_id)]


async def take(hypervisor: Hypervisor, vm: Vm, request: models.SnapshotCreate) -> models.Operation:
    """A snapshot of a running or paused VM, which goes on while it is written."""
    vm.running_vmm()
    taken = {record.name for record in hypervisor.snapshots.values()}
    name = request.name or new_name(taken)
    if name in taken:
        raise ConflictError(f"there is a snapshot '{name}' already", "choose another name")

    async def work(progress: Progress) -> Outcome:
        progress.report(f"writing the snapshot {name}")
        record = await _take(hypervisor, vm, name)
        return Outcome([vm.id], record.id)

    return await hypervisor.operations.begin("snapshot", vm.record.name, work)


async def _take(hypervisor: Hypervisor, vm: Vm, name: str) -> SnapshotRecord:
    services, places = hypervisor.services, hypervisor.services.places
    intent = Intent(kind="snapshot", id=new_id())
    folder = places.snapshot(intent.id)
    await services.commit(begin(intent))
    try:
        async with vm.lock:
            parent = hypervisor.snapshots.get(vm.record.last_snapshot or "")
            parent_folder = None if parent is None else str(places.snapshot(parent.id))
            params = {"folder": str(folder), "parent": parent_folder}
            answer = await vm.call("snapshot", params, SNAPSHOT_TIMEOUT_S)
            pause_ns = answer.get("pause_ns")
            record = SnapshotRecord(
                id=intent.id, name=name, vm_id=vm.id, vm_name=vm.record.name,
                parent_id=None if parent is None else parent.id, settings=vm.record.settings,
                memory_bytes=vm.record.settings.memory_bytes,
                size_bytes=await asyncio.to_thread(size_bytes, folder),
                pause_ns=pause_ns if isinstance(pause_ns, int) else 0,
                created_ns=services.clock.wall_ns(),
            )  # fmt: skip
            await keep(hypervisor, record)
            await vm.update(last_snapshot=record.id)
    except BaseException:
        if intent.id not in hypervisor.snapshots:
            await asyncio.shield(drop(hypervisor, intent))
        raise
    return record


async def keep(hypervisor: Hypervisor, record: SnapshotRecord) -> None:
    """Give a snapshot whose folder is there its record. ConflictError if its name was taken meanwhile."""
    taken = NewEvent(
        kind="snapshot",
        vm=record.vm_id,
        name=record.vm_name,
        data={"snapshot": record.id, "name": record.name},
    )
    intent = Intent(kind="snapshot", id=record.id)
    try:
        await hypervisor.services.commit(put_snapshot(record), end(intent), events=[taken])
    except sqlite3.IntegrityError:
        raise ConflictError(f"there is a snapshot '{record.name}' already", "choose another name") from None
    hypervisor.snapshots[record.id] = record


async def drop(hypervisor: Hypervisor, intent: Intent) -> None:
    """Remove the folder of a snapshot that has no record."""
    await asyncio.to_thread(remove_unfinished, hypervisor.services.places.snapshot(intent.id))
    await hypervisor.services.commit(end(intent))


async def restore(
    hypervisor: Hypervisor, snapshot: SnapshotRecord, request: models.SnapshotRestore
) -> models.Operation:
    """Go on from a snapshot: as a new VM, or in the place of the VM that it is of."""
    if request.in_place:
        return await _restore_in_place(hypervisor, snapshot)
    name = hypervisor.reserve_name(request.name)
    labels = snapshot.settings.labels if request.labels is None else request.labels
    network = of_copy(snapshot.settings.network)
    settings = replace(snapshot.settings, autostart=False, labels=dict(labels), network=network)
    record = replace(
        hypervisor.new_record(name, settings, f"snapshot:{snapshot.id}"),
        restore_from=snapshot.id,
        last_snapshot=snapshot.id,
    )

    async def work(progress: Progress) -> Outcome:
        try:
            vm = await hypervisor.add(record)
        finally:
            hypervisor.release_name(name)
        await hypervisor.start_or_remove(vm, progress)
        return Outcome([vm.id], snapshot.id)

    return await hypervisor.operations.begin("restore", name, work)


async def _restore_in_place(hypervisor: Hypervisor, snapshot: SnapshotRecord) -> models.Operation:
    vm = hypervisor.vms.get(snapshot.vm_id)
    if vm is None:
        remedy = "restore it as a new one: inn restore without --in-place"
        raise ConflictError(f"the VM {snapshot.vm_name} is gone", remedy)

    async def work(progress: Progress) -> Outcome:
        progress.report(f"restoring {vm.record.name}")
        await vm.stop(force=True, timeout_s=0)
        network = replace(vm.record.settings.network, adapters=snapshot.settings.network.adapters)
        settings = replace(
            vm.record.settings,
            cpus=snapshot.settings.cpus,
            memory_bytes=snapshot.settings.memory_bytes,
            network=network,
        )
        await vm.update(
            restore_from=snapshot.id,
            last_snapshot=snapshot.id,
            generation=new_generation(),
            settings=settings,
        )
        await vm.start()
        return Outcome([vm.id], snapshot.id)

    return await hypervisor.operations.begin("restore", vm.record.name, work)


async def remove(hypervisor: Hypervisor, snapshot: SnapshotRecord) -> models.Operation:
    """Remove a snapshot. ConflictError while another one, or a VM that is not started yet, needs it."""
    children = [record.name for record in hypervisor.snapshots.values() if record.parent_id == snapshot.id]
    users = [vm.record.name for vm in hypervisor.vms.values() if vm.record.restore_from == snapshot.id]
    if children or users:
        needed = ", ".join([*children, *users])
        raise ConflictError(f"the snapshot {snapshot.name} is needed by {needed}", "remove that first")

    async def work(progress: Progress) -> Outcome:
        gone = NewEvent(
            kind="snapshot-removed", vm=snapshot.vm_id, name=snapshot.vm_name, data={"snapshot": snapshot.id}
        )
        intent = Intent(kind="snapshot", id=snapshot.id)
        try:
            await hypervisor.services.commit(drop_snapshot(snapshot.id), begin(intent), events=[gone])
        except sqlite3.IntegrityError:
            raise ConflictError(f"the snapshot {snapshot.name} is needed by another one") from None
        hypervisor.snapshots.pop(snapshot.id, None)
        await drop(hypervisor, intent)
        return Outcome((), snapshot.id)

    return await hypervisor.operations.begin("remove snapshot", snapshot.name, work)
