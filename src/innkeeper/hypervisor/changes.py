# SPDX-License-Identifier: Apache-2.0
"""The parts that transactions of the store are put together from."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict

from innkeeper.api.models import Operation
from innkeeper.hypervisor.records import VM_COLUMNS, Intent, SnapshotRecord, VmRecord, vm_row
from innkeeper.hypervisor.store import OPERATIONS_KEPT, Change

_PUT_VM = (
    f"INSERT INTO vms ({', '.join(VM_COLUMNS)}) VALUES ({', '.join('?' * len(VM_COLUMNS))})"
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in VM_COLUMNS)}"
)


def put_vm(record: VmRecord) -> Change:
    """Keep `record`, in the place of the one with its id."""

    def change(connection: sqlite3.Connection) -> None:
        connection.execute(_PUT_VM, vm_row(record))
        connection.execute("DELETE FROM labels WHERE vm = ?", (record.id,))
        connection.executemany(
            "INSERT INTO labels (vm, name, value) VALUES (?, ?, ?)",
            [(record.id, name, value) for name, value in record.settings.labels.items()],
        )
        connection.execute("DELETE FROM disks WHERE vm = ?", (record.id,))
        connection.executemany(
            "INSERT INTO disks (vm, position, path, read_only) VALUES (?, ?, ?, ?)",
            [(record.id, i, disk.path, disk.read_only) for i, disk in enumerate(record.settings.disks)],
        )

    return change


def drop_vm(vm_id: str) -> Change:
    """Forget a VM, with its labels and disks."""
    return lambda connection: _execute(connection, "DELETE FROM vms WHERE id = ?", vm_id)


def put_snapshot(record: SnapshotRecord) -> Change:
    """Keep a new snapshot."""
    values = {**record.__dict__, "settings": record.settings.to_json()}
    names = ", ".join(values)
    marks = ", ".join("?" * len(values))
    return lambda connection: _execute(
        connection, f"INSERT INTO snapshots ({names}) VALUES ({marks})", *values.values()
    )


def drop_snapshot(snapshot_id: str) -> Change:
    """Forget a snapshot. sqlite3.IntegrityError while another one is based on it."""
    return lambda connection: _execute(connection, "DELETE FROM snapshots WHERE id = ?", snapshot_id)


def begin(intent: Intent) -> Change:
    """Say that a folder will appear."""
    return lambda connection: _execute(
        connection, "INSERT OR REPLACE INTO intents (kind, id) VALUES (?, ?)", intent.kind, intent.id
    )


def end(intent: Intent) -> Change:
    """The folder has its record, or is gone."""
    return lambda connection: _execute(
        connection, "DELETE FROM intents WHERE kind = ? AND id = ?", intent.kind, intent.id
    )


def put_operation(operation: Operation) -> Change:
    """Keep an operation; of those that have ended only the newest are kept."""

    def change(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO operations (id, state, created_ns, body) VALUES (?, ?, ?, ?)",
            (operation.id, operation.state, operation.created_ns, json.dumps(asdict(operation))),
        )
        connection.execute(
            "DELETE FROM operations WHERE state != 'running' AND id NOT IN"
            " (SELECT id FROM operations ORDER BY created_ns DESC LIMIT ?)",
            (OPERATIONS_KEPT,),
        )

    return change


def put_fact(name: str, value: str) -> Change:
    """Remember a value by name."""
    return lambda connection: _execute(
        connection, "INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", name, value
    )


def _execute(connection: sqlite3.Connection, statement: str, *values: object) -> None:
    connection.execute(statement, values)
