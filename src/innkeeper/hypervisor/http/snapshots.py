# SPDX-License-Identifier: Apache-2.0
"""Routes of snapshots."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from innkeeper.api import models
from innkeeper.api.constraints import Reference
from innkeeper.hypervisor import snapshots
from innkeeper.hypervisor.http.parameters import Owner, VmOfPath, WaitSeconds
from innkeeper.hypervisor.records import SnapshotRecord

router = APIRouter(prefix="/v1", tags=["Snapshots"])


def _snapshot(
    hypervisor: Owner, snapshot: Annotated[Reference, Path(description="A snapshot's name or id.")]
) -> SnapshotRecord:
    return snapshots.find(hypervisor, snapshot)


SnapshotOfPath = Annotated[SnapshotRecord, Depends(_snapshot)]


@router.post("/vms/{vm}/snapshots", status_code=202)
async def take_snapshot(
    hypervisor: Owner, vm: VmOfPath, request: models.SnapshotCreate, wait_s: WaitSeconds = 0
) -> models.Operation:
    """Take a snapshot of a running VM, which goes on meanwhile."""
    operation = await snapshots.take(hypervisor, vm, request)
    return await hypervisor.operations.wait(operation.id, wait_s)


@router.get("/snapshots")
async def list_snapshots(
    hypervisor: Owner,
    vm: Annotated[Reference | None, Query(description="Only those of this VM.")] = None,
) -> list[models.Snapshot]:
    """Snapshots, the oldest first."""
    vm_id = None if vm is None else hypervisor.find(vm).id
    return [record.to_api() for record in snapshots.select(hypervisor, vm_id)]


@router.get("/snapshots/{snapshot}")
async def get_snapshot(snapshot: SnapshotOfPath) -> models.Snapshot:
    """One snapshot."""
    return snapshot.to_api()


@router.post("/snapshots/{snapshot}/restore", status_code=202)
async def restore_snapshot(
    hypervisor: Owner, snapshot: SnapshotOfPath, request: models.SnapshotRestore, wait_s: WaitSeconds = 0
) -> models.Operation:
    """Go on from a snapshot, as a new VM or in the place of the one that it is of."""
    operation = await snapshots.restore(hypervisor, snapshot, request)
    return await hypervisor.operations.wait(operation.id, wait_s)


@router.delete("/snapshots/{snapshot}", status_code=202)
async def remove_snapshot(
    hypervisor: Owner, snapshot: SnapshotOfPath, wait_s: WaitSeconds = 0
) -> models.Operation:
    """Remove a snapshot."""
    operation = await snapshots.remove(hypervisor, snapshot)
    return await hypervisor.operations.wait(operation.id, wait_s)
