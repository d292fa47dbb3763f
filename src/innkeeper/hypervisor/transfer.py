# SPDX-License-Identifier: Apache-2.0
"""VMs and snapshots that come from other hosts, and go there; as files of `export_format`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from innkeeper.api import models
from innkeeper.api.constraints import Identifier, Name
from innkeeper.api.problems import ConflictError
from innkeeper.api.vmm_protocol import DISK_TOOL_MODULE
from innkeeper.errors import ConfigError, HostError
from innkeeper.hypervisor import snapshots
from innkeeper.hypervisor.changes import begin
from innkeeper.hypervisor.configs import ROOT_OVERLAY, new_id
from innkeeper.hypervisor.export_format import ROOT_DISK, read_archive, write_archive
from innkeeper.hypervisor.folders import DISKS, sync_folder
from innkeeper.hypervisor.hypervisor import Hypervisor
from innkeeper.hypervisor.networks import of_import
from innkeeper.hypervisor.operations import Outcome, Progress
from innkeeper.hypervisor.records import Intent, Settings, SnapshotRecord
from innkeeper.hypervisor.vm import Vm

SNAPSHOTS_MAX = 256
_MAPPED = "memory.raw"
"""A copy of a snapshot's memory to map from, which every host makes for itself."""


async def export_vm(hypervisor: Hypervisor, vm: Vm) -> AsyncIterator[bytes]:
    """A stopped VM as an archive; it stays stopped until that is whole. ConflictError if it runs."""
    async with vm.lock:
        if vm.is_active or vm.record.restore_from is not None:
            raise ConflictError(
                f"{vm.record.name} is {vm.state}", "stop it first, or export a snapshot of it"
            )
        scratch = scratch_path(hypervisor)
        try:
            await asyncio.to_thread(scratch.mkdir, 0o700)
            overlay = hypervisor.services.places.vm(vm.id) / DISKS / ROOT_OVERLAY
            files = []
            if overlay.exists():
                raw = scratch / "root.raw"
                await asyncio.to_thread(run_disk_tool, "flatten", str(overlay), str(raw))
                files.append((ROOT_DISK, raw))
            manifest = {"kind": "vm", "name": vm.record.name, "settings": asdict(vm.record.settings)}
            async for data in _in_thread(write_archive(manifest, files)):
                yield data
        finally:
            await asyncio.to_thread(shutil.rmtree, scratch, True)


async def export_snapshot(hypervisor: Hypervisor, snapshot: SnapshotRecord) -> AsyncIterator[bytes]:
    """A snapshot and those that it is based on, as an archive."""
    chain = _chain(hypervisor, snapshot)
    places = hypervisor.services.places
    if any((places.snapshot(record.id) / ROOT_OVERLAY).exists() for record in chain):
        remedy = "stop the VM and export that; its disk goes with it"
        raise ConflictError(f"the disk in {snapshot.name} is a difference to this host's image", remedy)
    manifest = {"kind": "snapshot", "name": snapshot.name, "snapshots": [asdict(record) for record in chain]}
    files = [
        (f"snapshots/{record.id}/{path.name}", path)
        for record in chain
        for path in sorted(places.snapshot(record.id).iterdir())
        if path.is_file() and not path.name.startswith((_MAPPED, "."))
    ]
    async for data in _in_thread(write_archive(manifest, files)):
        yield data


def _chain(hypervisor: Hypervisor, snapshot: SnapshotRecord) -> list[SnapshotRecord]:
    """The snapshot behind its ancestors, the oldest first."""
    chain = [snapshot]
    while (parent := chain[0].parent_id) is not None:
        chain.insert(0, hypervisor.snapshots[parent])
    return chain


async def import_archive(hypervisor: Hypervisor, path: Path, name: str | None) -> models.Operation:
    """Make what is in the archive `path`, which is removed then. All of it appears, or nothing."""

    async def work(progress: Progress) -> Outcome:
        folder = scratch_path(hypervisor)
        try:
            progress.report("reading the archive")
            await asyncio.to_thread(folder.mkdir, 0o700)
            manifest = await asyncio.to_thread(read_archive, path, folder)
            if manifest.get("kind") == "vm":
                return await _import_vm(hypervisor, manifest, folder, name, progress)
            if manifest.get("kind") == "snapshot":
                return await _import_snapshots(hypervisor, manifest, folder, name)
            raise ConfigError(
                "the export holds neither a VM nor a snapshot", "use a later version of Innkeeper"
            )
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, True)
            path.unlink(missing_ok=True)

    return await hypervisor.operations.begin("import", name or path.name, work)


async def _import_vm(
    hypervisor: Hypervisor, manifest: dict[str, Any], folder: Path, name: str | None, progress: Progress
) -> Outcome:
    settings = replace(_settings(manifest.get("settings")), autostart=False)
    wanted = hypervisor.reserve_name(name or _checked(Name, manifest.get("name"), "name"))
    try:
        record = hypervisor.new_record(wanted, settings, "import")
        made = folder / "made"
        disks = made / DISKS
        disks.mkdir(mode=0o700, parents=True)
        raw = folder / ROOT_DISK
        if raw.exists():
            if settings.image is None:
                raise ConfigError("the export has a root disk and no image", "export it again")
            progress.report(f"making the disk of {wanted}")
            overlay = str(disks / ROOT_OVERLAY)
            await asyncio.to_thread(run_disk_tool, "fill", str(raw), overlay, settings.image)
        await hypervisor.services.commit(begin(Intent(kind="vm", id=record.id)))
        try:
            await asyncio.to_thread(_move, made, hypervisor.services.places.vm(record.id))
            vm = (await hypervisor.keep([record], "imported"))[0]
        except BaseException:
            await asyncio.shield(hypervisor.drop_folders([record]))
            raise
    finally:
        hypervisor.release_name(wanted)
    return Outcome([vm.id])


async def _import_snapshots(
    hypervisor: Hypervisor, manifest: dict[str, Any], folder: Path, name: str | None
) -> Outcome:
    """Those that are here already stay: ids of snapshots are random, and name the same ones everywhere."""
    listed = manifest.get("snapshots")
    if not isinstance(listed, list) or not 0 < len(listed) <= SNAPSHOTS_MAX:
        raise ConfigError("the export is damaged: its list of snapshots makes no sense", "export it again")
    records = [_snapshot_record(item) for item in listed]
    for record, parent in zip(records, [None, *records], strict=False):
        if record.parent_id != (None if parent is None else parent.id):
            raise ConfigError("the export is damaged: its snapshots are not in order", "export it again")
    if name is not None:
        records[-1] = replace(records[-1], name=name)
    if records[-1].id in hypervisor.snapshots:
        raise ConflictError(f"the snapshot {records[-1].name} is here already", "inn snapshots lists it")
    for record in records:
        source = folder / "snapshots" / record.id
        if record.id in hypervisor.snapshots:
            continue
        if not source.is_dir() or (source / ROOT_OVERLAY).exists():
            raise ConfigError("the export is damaged: a snapshot in it is not whole", "export it again")
        target = hypervisor.services.places.snapshot(record.id)
        intent = Intent(kind="snapshot", id=record.id)
        await hypervisor.services.commit(begin(intent))
        try:
            await asyncio.to_thread(_move, source, target)
            await snapshots.keep(hypervisor, record)
        except BaseException:
            await asyncio.shield(snapshots.drop(hypervisor, intent))
            raise
    return Outcome((), records[-1].id)


def _move(source: Path, target: Path) -> None:
    """Give a folder its place, durable."""
    try:
        for parent, _, names in os.walk(source):
            for name in names:
                with open(os.path.join(parent, name), "rb") as file:
                    os.fsync(file.fileno())
            sync_folder(Path(parent))
        os.rename(source, target)
        sync_folder(target.parent)
    except OSError as error:
        raise HostError(f"cannot write {target}: {error.strerror}", "free some space") from error


def _settings(given: object) -> Settings:
    """Settings of an archive, held to what the API would accept."""
    fields = given if isinstance(given, dict) else {}
    known = {key: value for key, value in fields.items() if key in Settings.__dataclass_fields__}
    request = _checked(models.VmCreate, {"name": None, **known}, "settings")
    settings = Settings(**{key: getattr(request, key) for key in Settings.__dataclass_fields__})
    return replace(settings, network=of_import(settings.network))


def _snapshot_record(given: object) -> SnapshotRecord:
    item = given if isinstance(given, dict) else {}
    amounts = ("memory_bytes", "size_bytes", "pause_ns", "created_ns")
    parent = item.get("parent_id")
    return SnapshotRecord(
        id=_checked(Identifier, item.get("id"), "id of a snapshot"),
        name=_checked(Name, item.get("name"), "name of a snapshot"),
        vm_id=_checked(Identifier, item.get("vm_id"), "id of a VM"),
        vm_name=_checked(Name, item.get("vm_name"), "name of a VM"),
        parent_id=None if parent is None else _checked(Identifier, parent, "id of a snapshot"),
        settings=_settings(item.get("settings")),
        **{key: _checked(models.Amount, item.get(key), key) for key in amounts},
    )


def _checked(kind: Any, value: object, what: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ConfigError(
            f"the export is damaged: its {what} is wrong: {reason}", "export it again"
        ) from error


def scratch_path(hypervisor: Hypervisor) -> Path:
    """A new name in the folder that is emptied when the hypervisor starts."""
    return hypervisor.services.places.imports / new_id()


def run_disk_tool(*arguments: str) -> None:
    """Let a process of the VMM's stack work on disks. ConfigError with what it says if it cannot."""
    done = subprocess.run(
        [sys.executable, "-m", DISK_TOOL_MODULE, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd="/",
    )
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ConfigError(said[-1][:500].removeprefix("inn: ") if said else "the disk cannot be converted")


async def _in_thread(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """`parts`, each made in a thread."""
    take: Callable[[], bytes | None] = lambda: next(parts, None)  # noqa: E731
    with contextlib.suppress(StopIteration):
        while (data := await asyncio.to_thread(take)) is not None:
            yield data
