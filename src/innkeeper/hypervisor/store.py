# SPDX-License-Identifier: Apache-2.0
"""What the hypervisor must not forget, in SQLite.

`commit` is the only way to write: all its changes are one transaction, durable when it returns
(`synchronous=FULL` with a write-ahead log: SQLite syncs the log at each commit). A crash at any moment leaves
the state before or after it.

Source: SQLite, "Write-Ahead Logging"; "PRAGMA Statements", synchronous.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from innkeeper.api.models import Disk, Event, Operation
from innkeeper.errors import ConfigError, HostError
from innkeeper.hypervisor.migrations import migrate
from innkeeper.hypervisor.records import (
    Intent,
    NewEvent,
    Settings,
    SnapshotRecord,
    VmRecord,
    operation_of,
    vm_of,
)

EVENTS_KEPT = 10_000
OPERATIONS_KEPT = 1_000
Change = Callable[[sqlite3.Connection], None]
"""A part of a transaction; made by `innkeeper.hypervisor.changes`."""


class WallClock(Protocol):
    """The time that events and records carry."""

    def wall_ns(self) -> int: ...


class Store:
    """The database file `path`, made if it is not there. Methods may be called from any thread.

    ConfigError for a file that is no database of ours or of a later version, HostError where the host cannot
    read or write it.
    """

    def __init__(self, path: Path, clock: WallClock) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.RLock()
        with self._explained():
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=30
            )
            try:
                self._connection.row_factory = sqlite3.Row
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA foreign_keys = ON")
                migrate(self._connection)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Everything is durable already."""
        with self._lock:
            self._connection.close()

    def commit(self, *changes: Change, events: Sequence[NewEvent] = ()) -> list[Event]:
        """Make all of `changes` and add `events`, or nothing. Returns the events with their numbers."""
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for change in changes:
                    change(self._connection)
                added = [self._add_event(event) for event in events]
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        return added

    def vms(self) -> list[VmRecord]:
        """Every VM, the oldest first."""
        with self._reading() as connection:
            labels: dict[str, dict[str, str]] = {}
            for vm, name, value in connection.execute("SELECT vm, name, value FROM labels"):
                labels.setdefault(vm, {})[name] = value
            disks: dict[str, list[Disk]] = {}
            for vm, path, read_only in connection.execute(
                "SELECT vm, path, read_only FROM disks ORDER BY vm, position"
            ):
                disks.setdefault(vm, []).append(Disk(path=path, read_only=bool(read_only)))
            rows = connection.execute("SELECT * FROM vms ORDER BY created_ns, id").fetchall()
        return [vm_of(row, labels.get(row["id"], {}), disks.get(row["id"], [])) for row in rows]

    def snapshots(self) -> list[SnapshotRecord]:
        """Every snapshot, the oldest first."""
        with self._reading() as connection:
            rows = connection.execute("SELECT * FROM snapshots ORDER BY created_ns, id").fetchall()
        return [
            SnapshotRecord(**{**dict(row), "settings": Settings.from_json(row["settings"])}) for row in rows
        ]

    def intents(self) -> list[Intent]:
        """What was begun and not ended."""
        with self._reading() as connection:
            return [
                Intent(kind=kind, id=id) for kind, id in connection.execute("SELECT kind, id FROM intents")
            ]

    def operations(self) -> list[Operation]:
        """Operations that are kept, the newest first."""
        with self._reading() as connection:
            rows = connection.execute("SELECT body FROM operations ORDER BY created_ns DESC, id").fetchall()
        return [operation_of(body) for (body,) in rows]

    def events(self, after: int, limit: int, vm: str | None = None) -> list[Event]:
        """At most `limit` events with a number above `after`, the oldest first."""
        condition = "" if vm is None else " AND vm = :vm"
        with self._reading() as connection:
            rows = connection.execute(
                f"SELECT * FROM events WHERE number > :after{condition} ORDER BY number LIMIT :limit",
                {"after": after, "limit": limit, "vm": vm},
            ).fetchall()
        return [Event(**{**dict(row), "data": json.loads(row["data"])}) for row in rows]

    def last_event(self) -> int:
        """The number of the newest event, 0 if there was none."""
        with self._reading() as connection:
            (number,) = connection.execute("SELECT coalesce(max(number), 0) FROM events").fetchone()
        return int(number)

    def fact(self, name: str) -> str | None:
        """A remembered value."""
        with self._reading() as connection:
            row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _add_event(self, event: NewEvent) -> Event:
        time_ns = self._clock.wall_ns()
        number = self._connection.execute(
            "INSERT INTO events (time_ns, kind, vm, name, data) VALUES (?, ?, ?, ?, ?)",
            (time_ns, event.kind, event.vm, event.name, json.dumps(dict(event.data))),
        ).lastrowid
        number = int(number or 0)
        self._connection.execute("DELETE FROM events WHERE number <= ?", (number - EVENTS_KEPT,))
        return Event(
            number=number,
            time_ns=time_ns,
            kind=event.kind,
            vm=event.vm,
            name=event.name,
            data=dict(event.data),
        )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            yield self._connection

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as error:
            remedy = "free some space, or set INNKEEPER_STATE to a folder with some"
            raise HostError(f"the hypervisor's database {self._path}: {error}", remedy) from error
        except sqlite3.DatabaseError as error:
            remedy = "restore it from a backup, or move it away to begin anew"
            raise ConfigError(f"{self._path} is damaged: {error}", remedy) from error
