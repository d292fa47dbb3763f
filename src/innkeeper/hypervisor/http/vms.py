# SPDX-License-Identifier: Apache-2.0
"""Routes of VMs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from annotated_types import Ge, Le
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from innkeeper.api import models
from innkeeper.api.vmm_protocol import LOG_FILE
from innkeeper.hypervisor import copies
from innkeeper.hypervisor.configs import CONSOLE_LOG
from innkeeper.hypervisor.http.parameters import LabelFilter, Owner, VmOfPath, WaitSeconds
from innkeeper.hypervisor.logs import follow, tail
from innkeeper.hypervisor.operations import Outcome, Progress
from innkeeper.hypervisor.views import view
from innkeeper.hypervisor.vm import Vm

router = APIRouter(prefix="/v1/vms", tags=["VMs"])
WAIT_STATE_MAX_S = 3600
TAIL_MAX_BYTES = 16 << 20


@router.get("")
async def list_vms(hypervisor: Owner, label: LabelFilter = []) -> list[models.Vm]:  # noqa: B006
    """Every VM, the oldest first."""
    found = hypervisor.select(label)
    await asyncio.gather(*(vm.refresh() for vm in found))
    return [view(vm) for vm in found]


@router.post("", status_code=202)
async def create_vm(hypervisor: Owner, request: models.VmCreate, wait_s: WaitSeconds = 0) -> models.Operation:
    """Make a VM, and start it if that is asked for."""
    operation = await hypervisor.create(request)
    return await hypervisor.operations.wait(operation.id, wait_s)


@router.get("/{vm}")
async def get_vm(vm: VmOfPath) -> models.Vm:
    """One VM."""
    await vm.refresh()
    return view(vm)


@router.patch("/{vm}")
async def update_vm(hypervisor: Owner, vm: VmOfPath, request: models.VmUpdate) -> models.Vm:
    """Change a VM: name, sizes, labels, policies."""
    return await asyncio.shield(asyncio.ensure_future(hypervisor.update(vm, request)))


@router.delete("/{vm}", status_code=202)
async def remove_vm(
    hypervisor: Owner,
    vm: VmOfPath,
    force: Annotated[bool, Query(description="End it first if it runs.")] = False,
    wait_s: WaitSeconds = 0,
) -> models.Operation:
    """Remove a VM with its own disks. Snapshots of it stay."""
    operation = await hypervisor.remove(vm, force=force)
    return await hypervisor.operations.wait(operation.id, wait_s)


@router.post("/{vm}/start", status_code=202)
async def start_vm(hypervisor: Owner, vm: VmOfPath, wait_s: WaitSeconds = 0) -> models.Operation:
    """Start a VM; the operation ends when its VMM answers, `wait_vm` waits for the guest."""
    return await _do(hypervisor, vm, "start", vm.start, wait_s)


@router.post("/{vm}/stop", status_code=202)
async def stop_vm(
    hypervisor: Owner, vm: VmOfPath, request: models.VmStop, wait_s: WaitSeconds = 0
) -> models.Operation:
    """Ask the guest to power off, and end it after a time."""

    async def stop() -> None:
        await vm.stop(force=request.force, timeout_s=request.timeout_s)

    return await _do(hypervisor, vm, "stop", stop, wait_s)


@router.post("/{vm}/restart", status_code=202)
async def restart_vm(
    hypervisor: Owner, vm: VmOfPath, request: models.VmStop, wait_s: WaitSeconds = 0
) -> models.Operation:
    """Stop a VM and start it again, with the settings that it has by now."""

    async def restart() -> None:
        await vm.stop(force=request.force, timeout_s=request.timeout_s)
        await vm.start()

    return await _do(hypervisor, vm, "restart", restart, wait_s)


@router.post("/{vm}/pause", status_code=202)
async def pause_vm(hypervisor: Owner, vm: VmOfPath, wait_s: WaitSeconds = 0) -> models.Operation:
    """Let a VM stand still."""
    vm.running_vmm()
    return await _do(hypervisor, vm, "pause", vm.pause, wait_s)


@router.post("/{vm}/resume", status_code=202)
async def resume_vm(hypervisor: Owner, vm: VmOfPath, wait_s: WaitSeconds = 0) -> models.Operation:
    """Let a paused VM go on."""
    vm.running_vmm()
    return await _do(hypervisor, vm, "resume", vm.resume, wait_s)


@router.post("/{vm}/clone", status_code=202)
async def clone_vm(
    hypervisor: Owner, vm: VmOfPath, request: models.VmClone, wait_s: WaitSeconds = 0
) -> models.Operation:
    """A new VM like a stopped one, with copies of its own disks."""
    operation = await copies.clone(hypervisor, vm, request)
    return await hypervisor.operations.wait(operation.id, wait_s)


@router.post("/{vm}/fork", status_code=202)
async def fork_vm(
    hypervisor: Owner, vm: VmOfPath, request: models.VmFork, wait_s: WaitSeconds = 0
) -> models.Operation:
    """Running copies of a running VM, each with an identity of its own."""
    operation = await copies.fork(hypervisor, vm, request)
    return await hypervisor.operations.wait(operation.id, wait_s)


@router.get("/{vm}/wait")
async def wait_vm(
    vm: VmOfPath,
    state: models.WaitState,
    timeout_s: Annotated[float, Ge(0), Le(WAIT_STATE_MAX_S)] = 30,
) -> models.Vm:
    """Answer when the VM is in that state, cannot come to it by itself any more, or the time is over."""
    await vm.wait_for(_reached(state), timeout_s)
    return view(vm)


@router.get("/{vm}/logs", response_class=StreamingResponse, responses={200: {"content": {"text/plain": {}}}})
async def read_logs(
    vm: VmOfPath,
    hypervisor: Owner,
    source: models.LogSource = "console",
    tail_bytes: Annotated[int, Ge(0), Le(TAIL_MAX_BYTES)] = 1 << 20,
    follow_on: Annotated[bool, Query(alias="follow", description="Go on until the VM ends.")] = False,
) -> StreamingResponse:
    """The end of what the guest printed on its console, or of what its VMM had to say."""
    path = hypervisor.services.places.vm(vm.id) / (CONSOLE_LOG if source == "console" else LOG_FILE)
    content: AsyncIterator[bytes]
    content = follow(path, tail_bytes, lambda: vm.is_active) if follow_on else tail(path, tail_bytes)
    return StreamingResponse(content, media_type="text/plain; charset=utf-8")


async def _do(
    hypervisor: Owner, vm: Vm, kind: str, work: Callable[[], Awaitable[None]], wait_s: float
) -> models.Operation:
    async def run(progress: Progress) -> Outcome:
        await work()
        return Outcome([vm.id])

    operation = await hypervisor.operations.begin(kind, vm.record.name, run)
    return await hypervisor.operations.wait(operation.id, wait_s)


def _reached(wanted: models.WaitState) -> Callable[[Vm], bool]:
    """Whether a VM is in state `wanted`, or will not be before somebody does something."""

    def reached(vm: Vm) -> bool:
        over = vm.state in ("stopped", "crashed")
        if wanted == "ended":
            return over
        if wanted == "ready":
            return over or (vm.ready and vm.state == "running")
        return vm.state == wanted or over

    return reached
