# SPDX-License-Identifier: Apache-2.0
"""Files of running guests: what they are is asked by a request, their bytes go over WebSockets.

`read` begins with a text message, a `GuestFile`; then frames come as of `exec`: standard output, and at last
exit status 0. `write` takes standard input; exit status 0 comes when all of it is in the guest file.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from annotated_types import Ge, Le, MaxLen, MinLen
from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from innkeeper.api import models
from innkeeper.api.decode import decode
from innkeeper.errors import InnkeeperError
from innkeeper.hypervisor.http.parameters import VmOfPath
from innkeeper.hypervisor.http.streams import fail, open_stream, relay, until_ready

router = APIRouter(prefix="/v1/vms", tags=["Files"])
GuestPath = Annotated[str, MinLen(1), MaxLen(4096), Query(description="A path in the guest, from the root.")]


@router.get("/{vm}/files")
async def get_file(vm: VmOfPath, path: GuestPath) -> models.GuestFile:
    """What a file of a running guest is; a symbolic link is not followed."""
    return decode(models.GuestFile, await vm.call("files", {"op": "status", "path": path}))


@router.websocket("/{vm}/files/read")
async def read_file(socket: WebSocket, vm: str, path: str) -> None:
    """Read a file of a running guest."""
    await _serve(socket, vm, {"op": "read", "path": path})


@router.websocket("/{vm}/files/write")
async def write_file(
    socket: WebSocket,
    vm: str,
    path: str,
    mode: Annotated[int, Ge(0), Le(0o7777)] = 0o644,
    modified_ns: Annotated[int | None, Ge(-(1 << 63) + 1), Le((1 << 63) - 1)] = None,
) -> None:
    """Make a file of a running guest, or write it anew."""
    await _serve(socket, vm, {"op": "write", "path": path, "mode": mode, "modified_ns": modified_ns})


async def _serve(socket: WebSocket, vm: str, params: dict[str, Any]) -> None:
    await socket.accept()
    try:
        await until_ready(socket, vm)
        stream = await open_stream(socket, vm, "files", params)
        if params["op"] == "read":
            await socket.send_text(json.dumps(stream.answer))
        await relay(socket, stream)
    except WebSocketDisconnect:
        pass
    except InnkeeperError as error:
        await fail(socket, error)
