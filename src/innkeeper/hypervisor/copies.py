# SPDX-License-Identifier: Apache-2.0
"""VMs made from VMs: clones of stopped ones, forks of running ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from innkeeper.api import models
from innkeeper.api.problems import ConflictError
from innkeeper.errors import ConfigError, HostError, InnkeeperError
from innkeeper.host.processes import process_start_ticks
from innkeeper.host.sparse_copy import copy_sparse
from innkeeper.hypervisor.changes import begin, drop_vm, end
from innkeeper.hypervisor.children import Process
from innkeeper.hypervisor.configs import vmm_config
from innkeeper.hypervisor.folders import DISKS, make_folder, remove_folder
from innkeeper.hypervisor.hypervisor import Hypervisor
from innkeeper.hypervisor.networks import of_copy
from innkeeper.hypervisor.operations import Outcome, Progress
from innkeeper.hypervisor.records import Intent, VmRecord
from innkeeper.hypervisor.vm import Vm

FORK_TIMEOUT_S = 120.0


async def clone(hypervisor: Hypervisor, vm: Vm, request: models.VmClone) -> models.Operation:
    """A new VM with the settings and copies of the own disks of a stopped one."""
    if vm.is_active:
        raise ConflictError(f"{vm.record.name} is {vm.state}", "stop it first, or fork it: inn fork")
    name = hypervisor.reserve_name(request.name)
    network = of_copy(vm.record.settings.network)
    settings = replace(vm.record.settings, autostart=False, network=network)
    record = replace(
        hypervisor.new_record(name, settings, f"vm:{vm.id}"), restore_from=vm.record.restore_from
    )

    async def work(progress: Progress) -> Outcome:
        try:
            async with vm.lock:
                if vm.is_active:
                    raise ConflictError(f"{vm.record.name} was started meanwhile", "stop it first")
                progress.report(f"copying the disks of {vm.record.name}")
                made = await _copy(hypervisor, vm, record)
        finally:
            hypervisor.release_name(name)
        if request.start:
            await hypervisor.start_or_remove(made, progress)
        return Outcome([made.id])

    return await hypervisor.operations.begin("clone", name, work)


async def _copy(hypervisor: Hypervisor, vm: Vm, record: VmRecord) -> Vm:
    places, services = hypervisor.services.places, hypervisor.services
    intent = Intent(kind="vm", id=record.id)
    await services.commit(begin(intent))
    try:
        disks = places.vm(vm.id) / DISKS
        await asyncio.to_thread(make_folder, places.vm(record.id), lambda folder: _copy_disks(disks, folder))
        return (await hypervisor.keep([record], "cloned"))[0]
    except BaseException:
        await asyncio.to_thread(remove_folder, places.vm(record.id))
        await services.commit(end(intent))
        raise


def _copy_disks(disks: Path, folder: Path) -> None:
    (folder / DISKS).mkdir(0o700)
    for disk in sorted(disks.iterdir()):
        if disk.is_file():
            copy_sparse(disk, folder / DISKS / disk.name)


async def fork(hypervisor: Hypervisor, vm: Vm, request: models.VmFork) -> models.Operation:
    """Running copies of a running VM, which goes on; each with an identity of its own."""
    vm.running_vmm()
    if any(not disk.read_only for disk in vm.record.settings.disks):
        remedy = "attach them read-only, or take a snapshot and restore it"
        raise ConflictError(f"{vm.record.name} has disks that it shares with nobody", remedy)
    if len(request.names) > request.count or len(set(request.names)) != len(request.names):
        raise ConfigError("there are more names than forks, or one is given twice", "give each fork one name")
    names: list[str] = []
    try:
        for index in range(request.count):
            wanted = request.names[index] if index < len(request.names) else None
            names.append(hypervisor.reserve_name(wanted))
    except InnkeeperError:
        for name in names:
            hypervisor.release_name(name)
        raise
    labels = vm.record.settings.labels if request.labels is None else request.labels
    network = of_copy(vm.record.settings.network)
    settings = replace(vm.record.settings, autostart=False, labels=dict(labels), network=network)
    records = [
        replace(
            hypervisor.new_record(name, settings, f"vm:{vm.id}"),
            phase="forking",
            desired="running",
            last_snapshot=vm.record.last_snapshot,
        )
        for name in names
    ]

    async def work(progress: Progress) -> Outcome:
        progress.report(f"forking {vm.record.name}")
        try:
            made = await _fork(hypervisor, vm, records)
        finally:
            for name in names:
                hypervisor.release_name(name)
        return Outcome([copy.id for copy in made])

    return await hypervisor.operations.begin("fork", vm.record.name, work)


async def _fork(hypervisor: Hypervisor, vm: Vm, records: Sequence[VmRecord]) -> list[Vm]:
    """Folders and records first, so that no VMM is ever without; a fork that fails leaves none of them."""
    await hypervisor.make_folders(records, durable=False)
    copies = await hypervisor.keep(records, "forked")
    try:
        configs = [vmm_config(hypervisor.services.places, record).to_json() for record in records]
        async with vm.lock:
            answer = await vm.call("fork", {"configs": configs}, FORK_TIMEOUT_S)
        processes = _processes(answer.get("pids"), len(records))
        started = list(zip(copies, processes, strict=True))
        await asyncio.gather(*(copy.begin_fork(process) for copy, process in started))
        await Vm.record_processes(hypervisor.services, started)
    except BaseException:
        await asyncio.shield(_undo(hypervisor, copies))
        raise
    return copies


def _processes(pids: object, count: int) -> list[Process]:
    if not isinstance(pids, list) or len(pids) != count or not all(isinstance(pid, int) for pid in pids):
        raise HostError("the VMM answers a fork with what makes no sense", "see inn logs --source vmm")
    return [Process(pid, process_start_ticks(pid) or 0) for pid in pids]


async def _undo(hypervisor: Hypervisor, copies: Sequence[Vm]) -> None:
    for copy in copies:
        try:
            await hypervisor.remove_now(copy)
        except InnkeeperError:
            await hypervisor.services.commit(drop_vm(copy.id))
