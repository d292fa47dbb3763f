# SPDX-License-Identifier: Apache-2.0
"""Routes of exports and imports."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from innkeeper.api import models
from innkeeper.api.constraints import Name
from innkeeper.errors import HostError
from innkeeper.hypervisor import transfer
from innkeeper.hypervisor.http.parameters import Owner, VmOfPath, WaitSeconds
from innkeeper.hypervisor.http.snapshots import SnapshotOfPath

router = APIRouter(prefix="/v1", tags=["Transfer"])
MEDIA_TYPE = "application/octet-stream"
_ANSWER: dict[int | str, dict[str, object]] = {200: {"content": {MEDIA_TYPE: {}}}}
_BODY = {
    "requestBody": {
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        "required": True,
    }
}


@router.get("/vms/{vm}/export", response_class=StreamingResponse, responses=_ANSWER)
async def export_vm(hypervisor: Owner, vm: VmOfPath) -> StreamingResponse:
    """A stopped VM as one file."""
    return await _stream(transfer.export_vm(hypervisor, vm))


@router.get("/snapshots/{snapshot}/export", response_class=StreamingResponse, responses=_ANSWER)
async def export_snapshot(hypervisor: Owner, snapshot: SnapshotOfPath) -> StreamingResponse:
    """A snapshot with its parents as one file."""
    return await _stream(transfer.export_snapshot(hypervisor, snapshot))


@router.post("/import", status_code=202, openapi_extra=_BODY)
async def import_file(
    hypervisor: Owner,
    request: Request,
    name: Annotated[Name | None, Query(description="Of what is made; default: its former one.")] = None,
    wait_s: WaitSeconds = 0,
) -> models.Operation:
    """Make a VM or a snapshot of what an export gave."""
    path = transfer.scratch_path(hypervisor)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            async for data in request.stream():
                await asyncio.to_thread(file.write, data)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise HostError(f"cannot keep what is imported: {error.strerror}", "free some space") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    operation = await transfer.import_archive(hypervisor, path, name)
    return await hypervisor.operations.wait(operation.id, wait_s)


async def _stream(parts: AsyncIterator[bytes]) -> StreamingResponse:
    """An answer whose first part is there: what is wrong from the beginning is still an error."""
    first = await anext(parts)

    async def all_parts() -> AsyncIterator[bytes]:
        yield first
        async for data in parts:
            yield data

    return StreamingResponse(all_parts(), media_type=MEDIA_TYPE)
