# SPDX-License-Identifier: Apache-2.0
"""WebSockets: consoles, commands, captures, events.

A binary message of a console or command is one frame of `innkeeper.api.frames` without its length: a byte for
the kind, then the payload. A text message is only the first one of `exec`: an `ExecRequest`. Events are text
messages, one `Event` each. An error is the last message: a frame of kind 6, or `{"problem": {...}}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from innkeeper.api.decode import decode
from innkeeper.api.frames import (
    PAYLOAD_LIMIT_BYTES,
    FrameKind,
    FrameReader,
    encode_failure,
    encode_frame,
)
from innkeeper.api.models import Event, ExecRequest
from innkeeper.api.problems import problem_json, problem_of
from innkeeper.errors import ConfigError, HostError, InnkeeperError
from innkeeper.hypervisor.hypervisor import Hypervisor
from innkeeper.hypervisor.links import VmmStream

router = APIRouter(prefix="/v1")
CLOSE_ERROR = 4000
"""Of the range for applications. Spec: RFC 6455 7.4.2"""
READY_TIMEOUT_S = 20.0
"""After this a guest that does not answer is told as an error."""
_HEAD_BYTES = 5
_FROM_CLIENT = (FrameKind.STDIN, FrameKind.WINDOW, FrameKind.SIGNAL)
_BACKLOG = 500


@router.websocket("/vms/{vm}/console")
async def console(socket: WebSocket, vm: str, history: bool = True) -> None:
    """Attach to a VM's console; several clients may at once. `history`: begin with what was printed last."""
    await socket.accept()
    try:
        await relay(socket, await open_stream(socket, vm, "console", {"history": history}))
    except InnkeeperError as error:
        await fail(socket, error)


@router.websocket("/vms/{vm}/exec")
async def exec_command(socket: WebSocket, vm: str) -> None:
    """Run a command in a running guest."""
    await socket.accept()
    try:
        try:
            request = decode(ExecRequest, json.loads(await socket.receive_text()))
        except (ValueError, KeyError, TypeError, HostError) as error:
            raise ConfigError(
                f"the request to run a command is wrong: {error}", "send an ExecRequest"
            ) from error
        await until_ready(socket, vm)
        await relay(socket, await open_stream(socket, vm, "exec", asdict(request)))
    except WebSocketDisconnect:
        pass
    except InnkeeperError as error:
        await fail(socket, error)


@router.websocket("/vms/{vm}/capture")
async def capture(socket: WebSocket, vm: str, adapter: str = "") -> None:
    """Frames of an adapter of a running VM, of all if none is named, as the bytes of a pcapng file."""
    await socket.accept()
    try:
        await relay(socket, await open_stream(socket, vm, "capture", {"adapter": adapter}))
    except InnkeeperError as error:
        await fail(socket, error)


@router.websocket("/events/stream")
async def stream_events(socket: WebSocket, after: int = -1) -> None:
    """Events as they happen; `after` N: first those that happened since number N."""
    await socket.accept()
    hypervisor: Hypervisor = socket.app.state.hypervisor
    subscription = hypervisor.services.subscribe()
    gone = asyncio.ensure_future(_until_gone(socket))
    try:
        last = await _send_backlog(socket, hypervisor, after) if after >= 0 else 0
        while not gone.done():
            coming = asyncio.ensure_future(subscription.next())
            await asyncio.wait([gone, coming], return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                break
            if subscription.lagging:
                raise HostError("events were not read fast enough", "connect again, with after=")
            event = coming.result()
            if event.number > last:
                last = event.number
                await _send_event(socket, event)
    except (WebSocketDisconnect, RuntimeError):
        pass  # it went while it was sent something
    except InnkeeperError as error:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await socket.send_text(json.dumps({"problem": problem_json(problem_of(error))}))
            await socket.close(CLOSE_ERROR)
    finally:
        gone.cancel()
        hypervisor.services.unsubscribe(subscription)


async def _send_backlog(socket: WebSocket, hypervisor: Hypervisor, after: int) -> int:
    while True:
        events = await hypervisor.services.read_events(min(after, 1 << 62), _BACKLOG)
        for event in events:
            await _send_event(socket, event)
            after = event.number
        if len(events) < _BACKLOG:
            return after


async def _send_event(socket: WebSocket, event: Event) -> None:
    await socket.send_text(json.dumps(asdict(event)))


async def _until_gone(socket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass


async def open_stream(socket: WebSocket, vm: str, method: str, params: Mapping[str, Any]) -> VmmStream:
    """The VMM's end of a stream. Raises its error if it refuses, ConflictError if the VM does not run."""
    hypervisor: Hypervisor = socket.app.state.hypervisor
    found = hypervisor.find(vm)
    found.running_vmm()
    path = hypervisor.services.places.control_socket(found.id)
    return await VmmStream.open(path, method, params)


async def relay(socket: WebSocket, stream: VmmStream) -> None:
    """Carry frames both ways until one side goes. Each side waits for the other: nothing piles up here."""
    to_client = asyncio.ensure_future(_to_client(socket, stream))
    to_vmm = asyncio.ensure_future(_to_vmm(socket, stream))
    try:
        await asyncio.wait([to_client, to_vmm], return_when=asyncio.FIRST_COMPLETED)
        if not to_client.done() and not to_vmm.result():
            await to_client
    finally:
        for task in (to_client, to_vmm):
            task.cancel()
        await asyncio.gather(to_client, to_vmm, return_exceptions=True)
        stream.close()


async def _to_client(socket: WebSocket, stream: VmmStream) -> None:
    frames = FrameReader()
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while data := await stream.receive():
            for kind, payload in frames.feed(data):
                await socket.send_bytes(bytes([kind]) + payload)
        await socket.close()


async def _to_vmm(socket: WebSocket, stream: VmmStream) -> bool:
    """True if the client is gone; False if the VMM is, which may have said its last word just before."""
    while True:
        try:
            message = await socket.receive()
        except (WebSocketDisconnect, RuntimeError):
            return True
        if message["type"] == "websocket.disconnect":
            return True
        data = message.get("bytes")
        if not data or data[0] not in _FROM_CLIENT or len(data) > PAYLOAD_LIMIT_BYTES + 1:
            raise ConfigError("a message is no frame of a client", "send a kind and up to 64 KiB")
        if not await stream.send(encode_frame(FrameKind(data[0]), data[1:])):
            return False


async def until_ready(socket: WebSocket, vm: str) -> None:
    """Wait for the agent: a guest that was started, forked or restored just now answers soon."""
    hypervisor: Hypervisor = socket.app.state.hypervisor
    found = hypervisor.find(vm)
    if found.is_active:
        await found.wait_for(lambda vm: vm.ready or not vm.is_active, READY_TIMEOUT_S)


async def fail(socket: WebSocket, error: InnkeeperError) -> None:
    """The last message: why there is no stream."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        frame = encode_failure(error)
        await socket.send_bytes(frame[:1] + frame[_HEAD_BYTES:])
        await socket.close(CLOSE_ERROR)
