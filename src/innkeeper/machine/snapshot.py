# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a machine: what the VMM calls.

All of it works on a machine at rest: inside `machine.at_rest(work)`, or before `run` (`load`). A snapshot is
a folder of its own; those whose pages it uses (its parent and so on) are folders beside it:

    snapshot.json   version, sizes, state of harts and devices, digests of the other files
    memory.index    which page of RAM is where
    memory.pack     the pages that no base has, compressed
    memory.raw      a sparse copy to map from, made when it is first needed; can be removed at any time

Identity (MAC address, host name, random seed) is not changed here: the VMM tells the guest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from innkeeper.devices.saved import from_plain
from innkeeper.errors import ConfigError
from innkeeper.machine import snapshot_folder, snapshot_memory
from innkeeper.machine.machine import VirtMachine
from innkeeper.machine.machine_record import Shape, apply, capture, has_started
from innkeeper.machine.snapshot_folder import Manifest, remove_leftovers

__all__ = [
    "AddFiles", "SnapshotInfo", "dependents", "load", "prepare", "read_info", "remove_leftovers", "save",
    "verify",
]  # fmt: skip

AddFiles = Callable[[Path], Mapping[str, object]]
"""Puts further files (frozen disks) into the unfinished folder; what it returns is kept as `extra`."""


@dataclass(frozen=True)
class SnapshotInfo:
    """What a snapshot says of itself.

    `digest` (hex) names its content. `parent` is the snapshot it was made after, `bases` are those that it
    cannot be read without; both are names of folders beside it. `stored_bytes` counts its own files.
    """

    folder: Path
    digest: str
    parent: str | None
    bases: tuple[str, ...]
    hart_count: int
    memory_bytes: int
    stored_bytes: int
    extra: Mapping[str, object]


def save(
    machine: VirtMachine, folder: Path, parent: Path | None = None, add_files: AddFiles | None = None
) -> SnapshotInfo:
    """Write a snapshot of a machine at rest to `folder`, which must not exist; returns when it is durable.

    `parent`: a snapshot in a folder beside it; pages that it or its bases hold are not stored again.
    HostError (disk full, say) leaves no folder. ConfigError: `folder` exists, or `parent` is no snapshot.
    """
    if not has_started(machine):
        raise ConfigError("the machine has not started: there is nothing to save", "start it first")
    chain = _parent_chain(folder, parent)
    with snapshot_folder.new_folder(folder) as part:
        bases = snapshot_memory.bases_for(chain)
        memory = snapshot_memory.write_memory(machine.memory, part, bases)
        extra = add_files(part) if add_files is not None else {}
        manifest = Manifest(
            digest="",
            parent=parent.name if parent is not None else None,
            bases=[(base.folder.name, base.manifest.digest) for base in bases],
            memory=memory,
            state=capture(machine),
            files={},
            extra=extra,
        )
        snapshot_folder.write_manifest(part, manifest)
    return read_info(folder)


def _parent_chain(folder: Path, parent: Path | None) -> list[snapshot_memory.Source]:
    if parent is None:
        return []
    if parent.parent.resolve() != folder.parent.resolve():
        raise ConfigError(f"{parent} does not lie beside {folder}", "keep a VM's snapshots in one folder")
    return snapshot_memory.read_chain(snapshot_memory.read_source(parent))


def load(machine: VirtMachine, folder: Path) -> SnapshotInfo:
    """Put the snapshot into `machine`, which was just made with the same devices; `run` then goes on there.

    Memory is mapped copy-on-write and read as the guest touches it. Of each console port that the guest has
    open `on_open(True)` is called. ConfigError with the reason for a folder that is damaged, of another
    version, or of a machine of another shape; the machine is of no use then.
    """
    manifest = snapshot_folder.read_manifest(folder)
    snapshot_folder.check_sizes(folder, manifest)
    info = _info(folder, manifest)
    with machine.lock:
        snapshot_memory.map_memory(machine.memory, folder, manifest)
        apply(machine, manifest.state)
        machine.go_on_from_state()
    return info


def read_info(folder: Path) -> SnapshotInfo:
    """What `snapshot.json` says, whose checksum is verified; nothing else is read. ConfigError: damaged."""
    return _info(folder, snapshot_folder.read_manifest(folder))


def _info(folder: Path, manifest: Manifest) -> SnapshotInfo:
    shape = from_plain(Shape, manifest.state.get("shape"), "shape")
    return SnapshotInfo(
        folder,
        manifest.digest,
        manifest.parent,
        tuple(name for name, _ in manifest.bases),
        shape.hart_count,
        shape.memory_bytes,
        sum(size_bytes for size_bytes, _ in manifest.files.values()),
        manifest.extra,
    )


def verify(folder: Path) -> SnapshotInfo:
    """Read all of the snapshot and its bases and check every digest. ConfigError with what is wrong."""
    source = snapshot_memory.read_source(folder)
    for part in snapshot_memory.read_chain(source):
        for name in part.manifest.files:
            snapshot_folder.check_file(part.folder, part.manifest, name)
    snapshot_memory.check_pages(source)
    return _info(folder, source.manifest)


def prepare(folder: Path) -> None:
    """Make what `load` maps (memory.raw), so that the next `load` need not. ConfigError: it is damaged."""
    snapshot_memory.ensure_raw(folder, snapshot_folder.read_manifest(folder))


def dependents(folder: Path) -> list[str]:
    """Names of the snapshots beside it that cannot be read without this one. Damaged ones are left out."""
    found = []
    for other in sorted(folder.parent.iterdir()):
        try:
            if other != folder and folder.name in read_info(other).bases:
                found.append(other.name)
        except ConfigError:
            continue
    return found
