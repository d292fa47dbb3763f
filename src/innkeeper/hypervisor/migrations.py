# SPDX-License-Identifier: Apache-2.0
"""The form of the hypervisor's database, as the steps that lead to it. A released step never changes."""

from __future__ import annotations

import sqlite3

from innkeeper.errors import ConfigError

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE vms (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        image TEXT, kernel TEXT, initrd TEXT, append TEXT NOT NULL, firmware TEXT, engine TEXT NOT NULL,
        cpus INTEGER NOT NULL, memory_bytes INTEGER NOT NULL,
        restart TEXT NOT NULL, autostart INTEGER NOT NULL,
        mac_address TEXT NOT NULL UNIQUE, generation TEXT NOT NULL, origin TEXT NOT NULL,
        phase TEXT NOT NULL CHECK (phase IN ('ready', 'forking', 'deleting')),
        desired TEXT NOT NULL CHECK (desired IN ('running', 'stopped')),
        restore_from TEXT, last_snapshot TEXT,
        crashed INTEGER NOT NULL, reason TEXT NOT NULL, restarts INTEGER NOT NULL,
        created_ns INTEGER NOT NULL, started_ns INTEGER, ended_ns INTEGER,
        pid INTEGER, process_start_ticks INTEGER, boot_id TEXT NOT NULL
    ) STRICT;
    CREATE TABLE labels (
        vm TEXT NOT NULL REFERENCES vms ON DELETE CASCADE, name TEXT NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (vm, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE disks (
        vm TEXT NOT NULL REFERENCES vms ON DELETE CASCADE, position INTEGER NOT NULL,
        path TEXT NOT NULL, read_only INTEGER NOT NULL,
        PRIMARY KEY (vm, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE snapshots (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        vm_id TEXT NOT NULL, vm_name TEXT NOT NULL,
        parent_id TEXT REFERENCES snapshots ON DELETE RESTRICT,
        settings TEXT NOT NULL,
        memory_bytes INTEGER NOT NULL, size_bytes INTEGER NOT NULL, pause_ns INTEGER NOT NULL,
        created_ns INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE intents (kind TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID;
    CREATE TABLE operations (
        id TEXT PRIMARY KEY, state TEXT NOT NULL, created_ns INTEGER NOT NULL, body TEXT NOT NULL
    ) STRICT;
    CREATE TABLE events (
        number INTEGER PRIMARY KEY AUTOINCREMENT, time_ns INTEGER NOT NULL,
        kind TEXT NOT NULL, vm TEXT, name TEXT, data TEXT NOT NULL
    ) STRICT;
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    """,
    "ALTER TABLE vms ADD COLUMN network TEXT NOT NULL DEFAULT '{}'",
)
VERSION = len(STEPS)


def migrate(connection: sqlite3.Connection, steps: tuple[str, ...] = STEPS) -> None:
    """Bring the database to the last version: each step is one transaction, with its number.

    ConfigError for a database of a later version, which is left as it is.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise ConfigError(
            f"the hypervisor's database has version {version}; this knows up to {len(steps)}",
            "use the version of Innkeeper that made it, or a later one",
        )
    for number, step in enumerate(steps[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {number}; COMMIT;")
