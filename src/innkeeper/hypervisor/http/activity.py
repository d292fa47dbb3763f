# SPDX-License-Identifier: Apache-2.0
"""Routes of the hypervisor itself, its operations and its events."""

from __future__ import annotations

from typing import Annotated

from annotated_types import MaxLen
from fastapi import APIRouter, Request

from innkeeper.api import models
from innkeeper.api.constraints import Reference
from innkeeper.hypervisor.http.parameters import After, Limit, Owner, WaitSeconds

router = APIRouter(prefix="/v1", tags=["Hypervisor"])


@router.get("/info")
async def get_info(hypervisor: Owner) -> models.Info:
    """The hypervisor itself."""
    return hypervisor.info()


@router.post("/stop", status_code=202)
async def stop_hypervisor(hypervisor: Owner, request: Request) -> models.Info:
    """End the hypervisor. VMs run on, and the next one adopts them."""
    request.app.state.stop()
    return hypervisor.info()


@router.get("/operations")
async def list_operations(hypervisor: Owner) -> list[models.Operation]:
    """What is done and was done lately, the newest first."""
    return hypervisor.operations.all()


@router.get("/operations/{operation}")
async def get_operation(
    hypervisor: Owner, operation: Annotated[str, MaxLen(64)], wait_s: WaitSeconds = 0
) -> models.Operation:
    """One operation; with `wait_s`, once it has ended."""
    return await hypervisor.operations.wait(operation, wait_s)


@router.get("/events")
async def list_events(
    hypervisor: Owner, after: After = 0, limit: Limit = 1000, vm: Reference | None = None
) -> list[models.Event]:
    """What happened, the oldest first. `/v1/events/stream` is a WebSocket with what happens from now on."""
    vm_id = None if vm is None else hypervisor.find(vm).id
    return await hypervisor.services.read_events(after, limit, vm_id)
