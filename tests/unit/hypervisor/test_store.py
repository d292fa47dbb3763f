# SPDX-License-Identifier: Apache-2.0
"""The store keeps what it is given, whole or not at all."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from innkeeper.api.models import Operation
from innkeeper.errors import ConfigError, HostError
from innkeeper.hypervisor import migrations, store
from innkeeper.hypervisor.changes import (
    begin,
    drop_snapshot,
    drop_vm,
    end,
    put_fact,
    put_operation,
    put_snapshot,
    put_vm,
)
from innkeeper.hypervisor.records import Intent, NewEvent, SnapshotRecord
from innkeeper.hypervisor.store import Store
from tests.unit.hypervisor.stored import SETTINGS, TestClock, vm_record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hypervisor.db"


def _snapshot(number: int, parent: int | None = None) -> SnapshotRecord:
    return SnapshotRecord(
        id=f"{number:012x}", name=f"s{number}", vm_id="a" * 12, vm_name="a", settings=SETTINGS,
        parent_id=None if parent is None else f"{parent:012x}",
        memory_bytes=1, size_bytes=2, pause_ns=3, created_ns=number,
    )  # fmt: skip


def test_everything_comes_back_after_reopening(path: Path) -> None:
    first = Store(path, TestClock())
    vm = replace(vm_record(1), pid=5, process_start_ticks=6, boot_id="b", crashed=True, restore_from="f" * 12)
    first.commit(put_vm(vm), put_vm(vm_record(2)), begin(Intent(kind="vm", id="x")), put_fact("a", "b"))
    first.commit(put_snapshot(_snapshot(1)), put_snapshot(_snapshot(2, 1)))
    (event,) = first.commit(drop_vm(vm_record(2).id), events=[NewEvent(kind="k", vm="v", data={"a": [1]})])
    first.close()
    again = Store(path, TestClock())
    assert again.vms() == [vm]
    assert again.intents() == [Intent(kind="vm", id="x")]
    assert again.snapshots() == [_snapshot(1), _snapshot(2, 1)]
    assert again.events(0, 10) == [event] and again.last_event() == event.number == 1
    assert (again.fact("a"), again.fact("none")) == ("b", None)
    again.commit(end(Intent(kind="vm", id="x")))
    assert again.intents() == []


def test_labels_and_disks_are_replaced(path: Path) -> None:
    store = Store(path, TestClock())
    store.commit(put_vm(vm_record(1)))
    bare = replace(vm_record(1), settings=replace(SETTINGS, labels={}, disks=SETTINGS.disks[1:]))
    store.commit(put_vm(bare))
    assert store.vms() == [bare]


def test_a_failing_part_undoes_the_whole(path: Path) -> None:
    store = Store(path, TestClock())
    store.commit(put_vm(vm_record(1)))
    twin = replace(vm_record(2), name="vm-1")
    with pytest.raises(sqlite3.IntegrityError):
        store.commit(put_vm(vm_record(3)), put_vm(twin), events=[NewEvent(kind="never")])
    assert store.vms() == [vm_record(1)] and store.last_event() == 0


def test_a_parent_of_snapshots_stays(path: Path) -> None:
    store = Store(path, TestClock())
    store.commit(put_snapshot(_snapshot(1)), put_snapshot(_snapshot(2, 1)))
    with pytest.raises(sqlite3.IntegrityError):
        store.commit(drop_snapshot(_snapshot(1).id))
    store.commit(drop_snapshot(_snapshot(2).id), drop_snapshot(_snapshot(1).id))
    assert store.snapshots() == []


def test_events_are_read_in_parts_and_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "EVENTS_KEPT", 5)
    kept = Store(path, TestClock())
    for number in range(8):
        kept.commit(events=[NewEvent(kind=f"k{number}", vm=str(number % 2))])
    assert [event.kind for event in kept.events(0, 100)] == ["k3", "k4", "k5", "k6", "k7"]
    assert [event.kind for event in kept.events(5, 2)] == ["k5", "k6"]
    assert [event.kind for event in kept.events(0, 100, vm="1")] == ["k3", "k5", "k7"]


def test_running_operations_are_never_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("innkeeper.hypervisor.changes.OPERATIONS_KEPT", 2)
    kept = Store(path, TestClock())
    for number in range(5):
        kept.commit(
            put_operation(
                Operation(
                    id=str(number), kind="k", target="t", state="running" if number == 0 else "done", what="",
                    done=0, total=0, vms=[], snapshot=None, problem=None, created_ns=number, ended_ns=None,
                )
            )
        )  # fmt: skip
    assert [operation.id for operation in kept.operations()] == ["4", "3", "0"]


def test_migrations_keep_what_was_there(path: Path) -> None:
    Store(path, TestClock()).commit(put_vm(vm_record(1)))
    connection = sqlite3.connect(path, isolation_level=None)
    migrations.migrate(connection, (*migrations.STEPS, "ALTER TABLE vms ADD COLUMN later TEXT"))
    assert connection.execute("SELECT name, later FROM vms").fetchall() == [("vm-1", None)]
    connection.close()
    with pytest.raises(ConfigError, match="version"):
        Store(path, TestClock())


def test_a_failed_migration_changes_nothing(path: Path) -> None:
    Store(path, TestClock()).close()
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.Error):
        migrations.migrate(connection, (*migrations.STEPS, "CREATE TABLE more (a TEXT); SELECT nonsense"))
    connection.close()
    Store(path, TestClock()).close()


def test_damage_is_told_in_one_line(path: Path) -> None:
    path.write_bytes(b"no database at all, " * 1000)
    with pytest.raises(ConfigError, match="damaged"):
        Store(path, TestClock())
    with pytest.raises(HostError):
        Store(path / "below", TestClock())
