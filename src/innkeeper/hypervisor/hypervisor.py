# SPDX-License-Identifier: Apache-2.0
"""`Hypervisor`: all VMs of one user, and what is done with them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from innkeeper import __version__
from innkeeper.api import models
from innkeeper.api.constraints import is_name
from innkeeper.api.problems import ConflictError, NotFoundError
from innkeeper.errors import ConfigError, InnkeeperError
from innkeeper.hypervisor import networks
from innkeeper.hypervisor.changes import begin, drop_vm, end, put_fact, put_vm
from innkeeper.hypervisor.configs import new_generation, new_id, new_mac_address
from innkeeper.hypervisor.folders import make_vm_folders, remove_folder, remove_remains, remove_unfinished
from innkeeper.hypervisor.names import new_name
from innkeeper.hypervisor.operations import Operations, Outcome, Progress
from innkeeper.hypervisor.records import Intent, NewEvent, Settings, SnapshotRecord, VmRecord
from innkeeper.hypervisor.services import Services
from innkeeper.hypervisor.vm import Vm

BOOT_FACT = "boot id"
PREFIX_MIN = 4
"""So many digits of an id may stand for it, if no other begins with them."""


class Hypervisor:
    """Made by `open`; `close` lets go of the VMs, which run on. All of it belongs to one event loop."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.operations = Operations(services)
        self.vms: dict[str, Vm] = {}
        self.snapshots: dict[str, SnapshotRecord] = {}
        self._reserved: set[str] = set()
        self._started_ns = services.clock.wall_ns()

    @classmethod
    async def open(cls, services: Services) -> Hypervisor:
        """Clear up what was left half-made, adopt VMs that run, start those that are to be."""
        hypervisor = cls(services)
        await hypervisor._clear_up()
        await hypervisor.operations.recover()
        for record in await asyncio.to_thread(services.store.snapshots):
            hypervisor.snapshots[record.id] = record
        await hypervisor._adopt()
        return hypervisor

    async def close(self) -> None:
        """Let go of everything; VMs run on and are adopted by the next hypervisor."""
        for vm in self.vms.values():
            await vm.release()
        await self.services.close()

    async def stop_all(self, timeout_s: float) -> None:
        """Stop every VM, all at once."""
        await asyncio.gather(
            *(vm.stop(force=False, timeout_s=timeout_s) for vm in self.vms.values() if vm.is_active),
            return_exceptions=True,
        )

    def info(self) -> models.Info:
        """The hypervisor itself."""
        places = self.services.places
        return models.Info(
            version=__version__,
            pid=os.getpid(),
            user_id=os.geteuid(),
            started_ns=self._started_ns,
            state_folder=str(places.state),
            runtime_folder=str(places.runtime),
            vms=len(self.vms),
            running=sum(vm.is_active for vm in self.vms.values()),
        )

    def find(self, reference: str) -> Vm:
        """The VM with this name, id, or beginning of an id. NotFoundError if there is none."""
        for vm in self.vms.values():
            if vm.record.name == reference:
                return vm
        found = [vm for key, vm in self.vms.items() if key.startswith(reference)]
        if len(found) == 1 and len(reference) >= PREFIX_MIN:
            return found[0]
        raise NotFoundError(f"there is no VM '{reference}'", "inn ls lists them")

    def select(self, labels: Sequence[str]) -> list[Vm]:
        """The VMs with all of `labels`, each `name=value`, or `name` for any value."""
        found = sorted(self.vms.values(), key=lambda vm: (vm.record.created_ns, vm.record.name))
        for label in labels:
            name, has_value, value = label.partition("=")
            found = [
                vm
                for vm in found
                if name in vm.record.settings.labels
                and (not has_value or vm.record.settings.labels[name] == value)
            ]
        return found

    def reserve_name(self, wanted: str | None) -> str:
        """`wanted`, or a new name, kept for the caller until `release_name`. ConflictError if it is taken."""
        taken = self._reserved | {vm.record.name for vm in self.vms.values()}
        if wanted is None:
            wanted = new_name(taken)
        elif not is_name(wanted):
            raise ConfigError(f"'{wanted}' cannot be a name", "it would be taken for the id of a VM")
        elif wanted in taken:
            raise ConflictError(f"there is a VM '{wanted}' already", "choose another name")
        self._reserved.add(wanted)
        return wanted

    def release_name(self, name: str) -> None:
        """The name belongs to a VM now, or to nobody."""
        self._reserved.discard(name)

    async def create(self, request: models.VmCreate) -> models.Operation:
        """Make a VM, and start it if that is asked for. If it cannot be started it is not made either."""
        if request.image is not None and request.kernel is not None:
            raise ConfigError("a VM boots an image or a kernel, not both", "leave one of them out")
        if request.initrd is not None and request.kernel is None:
            raise ConfigError("an initrd belongs to a kernel", "give the kernel, too")
        network = networks.checked(request.network)
        name = self.reserve_name(request.name)
        image = request.image or (None if request.kernel is not None else "small")
        given = {field: getattr(request, field) for field in Settings.__dataclass_fields__}
        record = self.new_record(name, Settings(**{**given, "image": image, "network": network}))

        async def work(progress: Progress) -> Outcome:
            try:
                vm = await self.add(record)
            finally:
                self.release_name(name)
            if request.start:
                await self.start_or_remove(vm, progress)
            return Outcome([vm.id])

        return await self.operations.begin("create", name, work)

    def new_record(self, name: str, settings: Settings, origin: str = "") -> VmRecord:
        """A VM that does not exist yet, with an identity of its own."""
        return VmRecord(
            id=new_id(),
            name=name,
            settings=settings,
            mac_address=new_mac_address(),
            generation=new_generation(),
            created_ns=self.services.clock.wall_ns(),
            origin=origin,
        )

    async def add(self, *records: VmRecord, kind: str = "created") -> Vm:
        """Make VMs: their folders, then their records. All of them exist afterwards, or none."""
        await self.make_folders(records)
        return (await self.keep(records, kind))[0]

    async def make_folders(self, records: Sequence[VmRecord], *, durable: bool = True) -> None:
        """Make the folders of VMs that will get their records by `keep`.

        Not `durable`: for VMs that a power cut ends anyway, with all that is in their folders.
        """
        intents = [Intent(kind="vm", id=record.id) for record in records]
        await self.services.commit(*map(begin, intents))
        try:
            folders = [self.services.places.vm(record.id) for record in records]
            await asyncio.to_thread(make_vm_folders, folders, durable)
        except BaseException:
            await self.drop_folders(records)
            raise

    async def drop_folders(self, records: Sequence[VmRecord]) -> None:
        """Undo `make_folders`."""
        for record in records:
            await asyncio.to_thread(remove_folder, self.services.places.vm(record.id))
        await self.services.commit(*(end(Intent(kind="vm", id=record.id)) for record in records))

    async def keep(self, records: Sequence[VmRecord], kind: str) -> list[Vm]:
        """Give VMs whose folders are there their records, all in one."""
        changes = [
            part for record in records for part in (put_vm(record), end(Intent(kind="vm", id=record.id)))
        ]
        events = [
            NewEvent(kind=kind, vm=record.id, name=record.name, data={"origin": record.origin})
            for record in records
        ]
        await self.services.commit(*changes, events=events)
        made = [Vm(self.services, record) for record in records]
        self.vms.update({vm.id: vm for vm in made})
        return made

    async def start_or_remove(self, vm: Vm, progress: Progress) -> None:
        """Start a VM that was just made; if that fails there is no such VM, and the reason is raised."""
        progress.report(f"starting {vm.record.name}")
        try:
            await vm.start()
        except InnkeeperError:
            with contextlib.suppress(InnkeeperError):
                await self.remove_now(vm)
            raise

    async def update(self, vm: Vm, request: models.VmUpdate) -> models.Vm:
        """Change a VM. CPUs and memory of one that runs are changed live, or nothing is changed."""
        from innkeeper.hypervisor.views import view

        async with vm.lock:
            given = {name: value for name in ("cpus", "memory_bytes") if (value := getattr(request, name))}
            sizes = {
                name: value for name, value in given.items() if value != getattr(vm.record.settings, name)
            }
            name = self.reserve_name(request.name) if request.name not in (None, vm.record.name) else None
            try:
                if sizes and vm.is_active:
                    await vm.call("resize", given)
                changes = {
                    key: value
                    for key in ("cpus", "memory_bytes", "labels", "restart", "autostart")
                    if (value := getattr(request, key)) is not None
                }
                if request.network is not None:
                    changes["network"] = await networks.change(vm, request.network)
                settings = replace(vm.record.settings, **changes)
                await vm.update("changed", name=name or vm.record.name, settings=settings)
            finally:
                self.release_name(name or "")
        return view(vm)

    async def remove(self, vm: Vm, *, force: bool) -> models.Operation:
        """Remove a VM with its disks. ConflictError if it is active, unless `force` ends it."""
        if vm.is_active and not force:
            raise ConflictError(f"{vm.record.name} is {vm.state}", "stop it first, or use --force")

        async def work(progress: Progress) -> Outcome:
            await self.remove_now(vm)
            return Outcome([vm.id])

        return await self.operations.begin("remove", vm.record.name, work)

    async def remove_now(self, vm: Vm) -> None:
        """End a VM and remove it."""
        await vm.stop(force=True, timeout_s=0)
        async with vm.lock:
            await vm.update(phase="deleting")
            await self._forget(vm.record)

    async def _forget(self, record: VmRecord) -> None:
        await asyncio.to_thread(remove_folder, self.services.places.vm(record.id))
        self.services.places.control_socket(record.id).unlink(missing_ok=True)
        removed = NewEvent(kind="removed", vm=record.id, name=record.name)
        await self.services.commit(drop_vm(record.id), events=[removed])
        self.vms.pop(record.id, None)

    async def _clear_up(self) -> None:
        """Remove folders without a record. Only those that an intent names: others are not ours to judge."""
        places = self.services.places
        for intent in await asyncio.to_thread(self.services.store.intents):
            if intent.kind == "vm":
                await asyncio.to_thread(remove_folder, places.vm(intent.id))
            else:
                await asyncio.to_thread(remove_unfinished, places.snapshot(intent.id))
            await self.services.commit(end(intent))
        await asyncio.to_thread(remove_folder, places.imports)
        places.imports.mkdir(mode=0o700)
        for parent in (places.vms, places.snapshots):
            await asyncio.to_thread(remove_remains, parent)

    async def _adopt(self) -> None:
        records = await asyncio.to_thread(self.services.store.vms)
        first_of_boot = self.services.store.fact(BOOT_FACT) != self.services.boot_id
        kept = [record for record in records if record.phase == "ready"]
        self.vms = {record.id: Vm(self.services, record) for record in kept}
        taken = {record.pid for record in records if record.pid is not None}
        await asyncio.gather(*(vm.adopt(taken) for vm in self.vms.values()))
        for record in records:
            if record.phase == "deleting":
                await self._forget(record)
            elif record.phase == "forking":
                await self._adopt_fork(record)
        if first_of_boot:
            await self.services.commit(put_fact(BOOT_FACT, self.services.boot_id))
            self._autostart(self.vms.values())

    async def _adopt_fork(self, record: VmRecord) -> None:
        """A fork whose hypervisor ended before it was told of it: it runs, or it never was."""
        vm = Vm(self.services, record)
        if await vm.adopt_fork():
            self.vms[vm.id] = vm
        else:
            await self._forget(record)

    def _autostart(self, vms: Iterable[Vm]) -> None:
        for vm in vms:
            if vm.record.settings.autostart and not vm.is_active:
                self.services.spawn(self._start_quietly(vm), f"autostart of {vm.id}")

    async def _start_quietly(self, vm: Vm) -> None:
        with contextlib.suppress(InnkeeperError):
            await vm.start()
