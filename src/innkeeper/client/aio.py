# SPDX-License-Identifier: Apache-2.0
"""The asynchronous client: the names of `innkeeper.client.sync`, with `await`. A test holds them together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from innkeeper.api import models
from innkeeper.api.frames import FrameKind
from innkeeper.client import calls, files, wire
from innkeeper.client.async_transport import AsyncTransport
from innkeeper.client.endpoint import Endpoint
from innkeeper.client.requests import create_request, finish_error, reached, update_request
from innkeeper.client.streams import AsyncStream
from innkeeper.errors import HostError

OnProgress = Callable[[models.Operation], None]
POLL_S, QUIET_POLL_S = 0.5, 30.0
WAIT_STEP_S = 60.0


class AsyncClient:
    """A connection to a hypervisor, made by `innkeeper.connect_async()`. Methods raise `innkeeper.errors`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._transport = AsyncTransport(endpoint)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the hypervisor, which goes on, as its VMs do."""
        await self._transport.close()

    async def info(self) -> models.Info:
        """The hypervisor itself."""
        return await self._transport.send(calls.get_info())

    async def stop_hypervisor(self) -> models.Info:
        """End the hypervisor. VMs run on, and the next one adopts them."""
        return await self._transport.send(calls.stop_hypervisor())

    async def vms(self, labels: Sequence[str] = ()) -> list[AsyncVm]:
        """Every VM with all of `labels` (`name` or `name=value`), the oldest first."""
        return [AsyncVm(self, info) for info in await self._transport.send(calls.list_vms(labels))]

    async def vm(self, reference: str) -> AsyncVm:
        """The VM with this name or id. NotFoundError if there is none."""
        return AsyncVm(self, await self._transport.send(calls.get_vm(reference)))

    async def create(
        self, image: str | None = None, *, on_progress: OnProgress | None = None, **settings: Any
    ) -> AsyncVm:
        """Make a VM and start it. `settings`: the fields of `innkeeper.api.models.VmCreate`."""
        request = create_request(image, settings)
        operation = await self.finish(
            await self._transport.send(calls.create_vm(request, POLL_S)), on_progress
        )
        return await self.vm(operation.vms[0])

    async def snapshots(self, vm: str | None = None) -> list[AsyncSnapshot]:
        """Snapshots, of one VM or of all, the oldest first."""
        return [AsyncSnapshot(self, info) for info in await self._transport.send(calls.list_snapshots(vm))]

    async def snapshot(self, reference: str) -> AsyncSnapshot:
        """The snapshot with this name or id."""
        return AsyncSnapshot(self, await self._transport.send(calls.get_snapshot(reference)))

    async def operations(self) -> list[models.Operation]:
        """What is done and was done lately, the newest first."""
        return await self._transport.send(calls.list_operations())

    async def past_events(
        self, after: int = 0, limit: int = 1000, vm: str | None = None
    ) -> list[models.Event]:
        """What happened since event number `after`."""
        return await self._transport.send(calls.list_events(after, limit, vm))

    async def events(self, after: int | None = None) -> AsyncIterator[models.Event]:
        """What happens from now on, or since event number `after`; without end."""
        async with await self.open_stream(
            "events/stream", {} if after is None else {"after": after}
        ) as stream:
            async for message in stream.messages():
                yield wire.read_event(message)

    async def import_file(
        self, parts: AsyncIterable[bytes], name: str | None = None, on_progress: OnProgress | None = None
    ) -> AsyncVm | AsyncSnapshot:
        """Make a VM or snapshot of what `Vm.export` or `Snapshot.export` gave."""
        operation = await self.finish(
            await self._transport.upload(calls.import_file(name, POLL_S), parts), on_progress
        )
        return (
            await self.vm(operation.vms[0])
            if operation.vms
            else await self.snapshot(operation.snapshot or "")
        )

    async def finish(
        self, operation: models.Operation, on_progress: OnProgress | None = None
    ) -> models.Operation:
        """Wait until `operation` has ended, and raise its error. `on_progress` sees how far it is."""
        while operation.state == "running":
            if on_progress is not None:
                on_progress(operation)
            wait_s = QUIET_POLL_S if on_progress is None else POLL_S
            operation = await self._transport.send(calls.get_operation(operation.id, wait_s))
        if operation.state == "failed":
            raise finish_error(operation)
        return operation

    async def send(self, call: calls.Call[calls.T]) -> calls.T:
        """One request."""
        return await self._transport.send(call)

    def download(self, call: calls.Call[bytes]) -> AsyncIterator[bytes]:
        """One request that is answered with bytes."""
        return self._transport.download(call)

    async def open_stream(self, path: str, query: Mapping[str, Any] | None = None) -> AsyncStream:
        """A WebSocket below the API's root."""
        from innkeeper.client.sockets import connect_async

        return AsyncStream(await connect_async(self._transport.endpoint, path, query or {}))


class AsyncVm:
    """A VM. `info` is how it was when it was last looked at."""

    def __init__(self, client: AsyncClient, info: models.Vm) -> None:
        self._client = client
        self.info = info

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def state(self) -> models.VmState:
        return self.info.state

    async def refresh(self) -> models.Vm:
        """Look at it again."""
        self.info = await self._client.send(calls.get_vm(self.id))
        return self.info

    async def start(self) -> None:
        """Start it; returns when its VMM answers, `wait` waits for the guest."""
        await self._do(calls.start_vm(self.id, POLL_S))

    async def stop(self, *, force: bool = False, timeout_s: float = 30.0) -> None:
        """Ask the guest to power off, and end it after `timeout_s`; at once with `force`."""
        await self._do(calls.stop_vm(self.id, models.VmStop(force=force, timeout_s=timeout_s), POLL_S))

    async def restart(self, *, force: bool = False, timeout_s: float = 30.0) -> None:
        """Stop it and start it again."""
        await self._do(calls.restart_vm(self.id, models.VmStop(force=force, timeout_s=timeout_s), POLL_S))

    async def pause(self) -> None:
        """Let it stand still."""
        await self._do(calls.pause_vm(self.id, POLL_S))

    async def resume(self) -> None:
        """Let it go on."""
        await self._do(calls.resume_vm(self.id, POLL_S))

    async def remove(self, *, force: bool = False) -> None:
        """Remove it with its own disks; with `force` also if it runs."""
        await self._client.finish(await self._client.send(calls.remove_vm(self.id, force, POLL_S)))

    async def update(self, **changes: Any) -> models.Vm:
        """Change it. `changes`: the fields of `innkeeper.api.models.VmUpdate`."""
        self.info = await self._client.send(calls.update_vm(self.id, update_request(changes)))
        return self.info

    async def wait(self, state: models.WaitState = "ready", timeout_s: float = 60.0) -> models.Vm:
        """Wait for a state. HostError if it takes longer, or the VM cannot come to it any more."""
        left_s = timeout_s
        while True:
            step_s = min(left_s, WAIT_STEP_S)
            self.info = await self._client.send(calls.wait_vm(self.id, state, step_s))
            left_s -= step_s
            if reached(self.info, state, timeout_s, is_over=left_s <= 0):
                return self.info

    async def clone(self, name: str | None = None, *, start: bool = False) -> AsyncVm:
        """A new VM like this one, which is stopped, with copies of its own disks."""
        request = models.VmClone(name=name, start=start)
        made = await self._made(calls.clone_vm(self.id, request, POLL_S))
        return made[0]

    async def fork(
        self, count: int = 1, *, names: Sequence[str] = (), labels: Mapping[str, str] | None = None
    ) -> list[AsyncVm]:
        """Running copies of this VM, which runs on; each with an identity of its own."""
        given = None if labels is None else dict(labels)
        request = models.VmFork(count=count, names=list(names), labels=given)
        return await self._made(calls.fork_vm(self.id, request, POLL_S))

    async def snapshot(self, name: str | None = None, on_progress: OnProgress | None = None) -> AsyncSnapshot:
        """Take a snapshot; the VM goes on meanwhile."""
        operation = await self._client.send(
            calls.take_snapshot(self.id, models.SnapshotCreate(name=name), POLL_S)
        )
        ended = await self._client.finish(operation, on_progress)
        return await self._client.snapshot(ended.snapshot or "")

    def logs(
        self, source: models.LogSource = "console", *, tail_bytes: int = 1 << 20, follow: bool = False
    ) -> AsyncIterator[bytes]:
        """What the guest printed on its console, or its VMM's messages; with `follow` until it ends."""
        return self._client.download(calls.read_logs(self.id, source, tail_bytes, follow))

    def export(self) -> AsyncIterator[bytes]:
        """The VM as one file, in parts; it has to be stopped."""
        return self._client.download(calls.export_vm(self.id))

    async def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        user: str = "",
        timeout_s: float = 0.0,
    ) -> wire.ExecResult:
        """Run a command in the running guest, and return what it wrote and how it ended."""
        request = models.ExecRequest(
            argv=list(argv), env=dict(env or {}), cwd=cwd, user=user, timeout_s=timeout_s
        )
        async with await self.open_exec(request) as stream:
            sending = asyncio.ensure_future(stream.send_all(stdin))
            parts: dict[FrameKind, bytearray] = {FrameKind.STDOUT: bytearray(), FrameKind.STDERR: bytearray()}
            try:
                async for output in stream.outputs():
                    if output.kind == FrameKind.EXIT:
                        stdout, stderr = (bytes(part) for part in parts.values())
                        return wire.ExecResult(stdout, stderr, output.status)
                    parts[output.kind] += output.data
            finally:
                sending.cancel()
        raise HostError("the command was cut off", "see inn logs")

    async def open_exec(self, request: models.ExecRequest) -> AsyncStream:
        """Run a command, with its streams as they come."""
        stream = await self._client.open_stream(f"vms/{self.id}/exec")
        await stream.send_request(request)
        return stream

    async def console(self, *, history: bool = True) -> AsyncStream:
        """Attach to the console; others may be attached, too."""
        return await self._client.open_stream(f"vms/{self.id}/console", {"history": history})

    async def network(self) -> models.NetworkStatus:
        """Its adapters and what has crossed them, its open ports, what was refused; it has to run."""
        return await self._client.send(calls.get_network(self.id))

    async def capture(self, adapter: str = "") -> AsyncStream:
        """Frames of an adapter (`eth0`), of all if none is named, as the bytes of a pcapng file."""
        return await self._client.open_stream(f"vms/{self.id}/capture", {"adapter": adapter})

    async def file_status(self, path: str) -> models.GuestFile:
        """What the guest's file is; a symbolic link is not followed. ConfigError if there is none."""
        return await self._client.send(calls.get_file(self.id, path))

    async def get(self, path: str, target: str | Path, *, on_bytes: files.OnBytes | None = None) -> Path:
        """Copy the guest's file `path` to `target`, a file or folder here; returns where it is.

        It appears when it is whole, with the guest's permissions (but setuid and setgid) and time.
        """
        new = files.NewFile(where := files.local_target(path, Path(target)))
        async with await self._client.open_stream(f"vms/{self.id}/files/read", {"path": path}) as stream:
            file = files.first_message(await anext(stream.messages(), None))
            files.require_regular(path, file)
            with new.opened() as out:
                async for output in stream.outputs():
                    if files.is_end(output):
                        break
                    out.write(output.data)
                    if on_bytes is not None:
                        on_bytes(out.tell(), file.size_bytes)
                else:
                    raise files.cut_off()
        new.appear(file)
        return where

    async def put(self, source: str | Path, path: str, *, on_bytes: files.OnBytes | None = None) -> None:
        """Copy a file of this host to the guest's file `path`, with its permissions and time."""
        with files.source_file(Path(source)) as (file, status):
            query = files.write_query(path, status)
            async with await self._client.open_stream(f"vms/{self.id}/files/write", query) as stream:
                for part in files.parts_of(file, status.st_size, on_bytes):
                    await stream.send(part)
                await stream.send_end()
                async for output in stream.outputs():
                    if files.is_end(output):
                        return
                raise files.cut_off()

    async def _do(self, call: calls.Call[models.Operation]) -> None:
        await self._client.finish(await self._client.send(call))
        await self.refresh()

    async def _made(self, call: calls.Call[models.Operation]) -> list[AsyncVm]:
        operation = await self._client.finish(await self._client.send(call))
        if len(operation.vms) == 1:
            return [await self._client.vm(operation.vms[0])]
        found = {vm.id: vm for vm in await self._client.vms()}
        return [found[vm] for vm in operation.vms if vm in found]


class AsyncSnapshot:
    """A snapshot of a VM."""

    def __init__(self, client: AsyncClient, info: models.Snapshot) -> None:
        self._client = client
        self.info = info

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def name(self) -> str:
        return self.info.name

    async def restore(
        self, name: str | None = None, *, in_place: bool = False, labels: Mapping[str, str] | None = None
    ) -> AsyncVm:
        """Go on from it: as a new VM, or in the place of the one that it is of."""
        given = None if labels is None else dict(labels)
        request = models.SnapshotRestore(name=name, in_place=in_place, labels=given)
        operation = await self._client.finish(
            await self._client.send(calls.restore_snapshot(self.id, request, POLL_S))
        )
        return await self._client.vm(operation.vms[0])

    async def remove(self) -> None:
        """Remove it."""
        await self._client.finish(await self._client.send(calls.remove_snapshot(self.id, POLL_S)))

    def export(self) -> AsyncIterator[bytes]:
        """The snapshot as one file, in parts."""
        return self._client.download(calls.export_snapshot(self.id))
