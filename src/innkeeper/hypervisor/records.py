# SPDX-License-Identifier: Apache-2.0
"""What the store keeps, as values that do not change: a new state is a new record."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from innkeeper.api.decode import decode
from innkeeper.api.models import (
    Disk,
    EngineName,
    NetworkSettings,
    Operation,
    RestartPolicy,
    Snapshot,
)

Phase = Literal["ready", "forking", "deleting"]
Desired = Literal["running", "stopped"]
IntentKind = Literal["vm", "snapshot"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a VM is made of, and what a clone, fork or restored snapshot of it takes over."""

    image: str | None
    kernel: str | None
    initrd: str | None
    append: str
    firmware: str | None
    engine: EngineName
    cpus: int
    memory_bytes: int
    restart: RestartPolicy
    autostart: bool
    network: NetworkSettings = field(default_factory=NetworkSettings)
    labels: dict[str, str] = field(default_factory=dict)
    disks: list[Disk] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """HostError if `text` is not what `to_json` gave."""
        return decode(cls, json.loads(text))


@dataclass(frozen=True, kw_only=True)
class VmRecord:
    """A VM: its settings, what is wanted of it, and how its last or present VMM fares.

    `restore_from` is the snapshot that its next start goes on from, `last_snapshot` the one that its next
    snapshot is the difference to. `crashed` and `reason` say how it ended.
    `pid`, `process_start_ticks` and `boot_id` identify its VMM; the pid is None while there is none.
    """

    id: str
    name: str
    settings: Settings
    mac_address: str
    generation: str
    created_ns: int
    origin: str = ""
    phase: Phase = "ready"
    desired: Desired = "stopped"
    restore_from: str | None = None
    last_snapshot: str | None = None
    crashed: bool = False
    reason: str = ""
    restarts: int = 0
    started_ns: int | None = None
    ended_ns: int | None = None
    pid: int | None = None
    process_start_ticks: int | None = None
    boot_id: str = ""


@dataclass(frozen=True, kw_only=True)
class SnapshotRecord:
    """A snapshot that is complete in its folder, with the settings of the VM it was taken of."""

    id: str
    name: str
    vm_id: str
    vm_name: str
    parent_id: str | None
    settings: Settings
    memory_bytes: int
    size_bytes: int
    pause_ns: int
    created_ns: int

    def to_api(self) -> Snapshot:
        values = {item.name: getattr(self, item.name) for item in fields(Snapshot)}
        return Snapshot(**values)


@dataclass(frozen=True, kw_only=True)
class Intent:
    """A folder that is about to appear: what has no record when the hypervisor starts is removed."""

    kind: IntentKind
    id: str


@dataclass(frozen=True, kw_only=True)
class NewEvent:
    """An event before it has a number and a time."""

    kind: str
    vm: str | None = None
    name: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


_SETTINGS_COLUMNS = tuple(item.name for item in fields(Settings) if item.name not in ("labels", "disks"))
_VM_COLUMNS = tuple(item.name for item in fields(VmRecord) if item.name != "settings")
VM_COLUMNS = _SETTINGS_COLUMNS + _VM_COLUMNS
_FLAGS = ("autostart", "crashed")


def vm_row(record: VmRecord) -> tuple[Any, ...]:
    """The values of VM_COLUMNS."""
    network = json.dumps(asdict(record.settings.network))
    settings = [
        network if name == "network" else getattr(record.settings, name) for name in _SETTINGS_COLUMNS
    ]
    return (*settings, *(getattr(record, name) for name in _VM_COLUMNS))


def vm_of(row: sqlite3.Row, labels: dict[str, str], disks: list[Disk]) -> VmRecord:
    """The record of a row of `vms`."""
    values: dict[str, Any] = {name: bool(row[name]) if name in _FLAGS else row[name] for name in VM_COLUMNS}
    settings = {name: values.pop(name) for name in _SETTINGS_COLUMNS}
    settings["network"] = decode(NetworkSettings, json.loads(settings["network"]))
    return VmRecord(settings=Settings(**settings, labels=labels, disks=disks), **values)


def operation_of(body: str) -> Operation:
    """The operation that was kept as `body`."""
    return decode(Operation, json.loads(body))
