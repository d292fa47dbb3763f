# SPDX-License-Identifier: Apache-2.0
"""No acknowledged write is lost, whenever the writer is killed or the power goes."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from pathlib import Path

from innkeeper.hypervisor.changes import put_vm
from innkeeper.hypervisor.records import NewEvent
from innkeeper.hypervisor.store import Store
from tests.unit.hypervisor.stored import TestClock, contents, random_changes, vm_record

SECTOR_BYTES = 512
HEADER_BYTES = 32
RUNS = 100


def _small_log(store: Store) -> None:
    """Checkpoints every few commits, so that they are cut too."""
    store.commit(lambda connection: connection.execute("PRAGMA wal_autocheckpoint = 6") and None)


def _torn(rng: random.Random, old: bytes, new: bytes) -> bytes:
    """What may be on the disk while `old` becomes `new`: each sector one or the other, new ones garbage."""
    result = bytearray()
    for start in range(0, max(len(old), len(new)), SECTOR_BYTES):
        before, after = old[start : start + SECTOR_BYTES], new[start : start + SECTOR_BYTES]
        if before == after:
            result += before
            continue
        choices = [before.ljust(len(after), b"\0"), after]
        if not before:
            choices.append(rng.randbytes(len(after)))
        result += rng.choice(choices)
    return bytes(result)


def _torn_log(rng: random.Random, old: bytes, new: bytes) -> bytes:
    """As `_torn`, for the write-ahead log: where it begins anew, its header is synced before what follows.

    Source: SQLite, wal.c, walFrames(), "Sync the header"
    """
    if old[:HEADER_BYTES] == new[:HEADER_BYTES]:
        return _torn(rng, old, new)
    begun = new[:HEADER_BYTES] + old[HEADER_BYTES:]
    return rng.choice([old, begun, _torn(rng, begun, new)])


def _reopened(folder: Path, database: bytes, log: bytes) -> tuple[object, ...]:
    folder.mkdir()
    (folder / "hypervisor.db").write_bytes(database)
    (folder / "hypervisor.db-wal").write_bytes(log)
    store = Store(folder / "hypervisor.db", TestClock())
    store.commit(lambda connection: _check_integrity(connection))
    found = contents(store)
    store.close()
    return found


def _check_integrity(connection: sqlite3.Connection) -> None:
    assert [tuple(row) for row in connection.execute("PRAGMA integrity_check")] == [("ok",)]


def test_power_cut_at_any_moment(tmp_path: Path, rng: random.Random) -> None:
    """Cut while a transaction's log is written, and while a checkpoint carries the log into the database.

    SQLite syncs the log before a commit returns, and before a checkpoint begins; what is not synced may be on
    the disk in any part. So after a cut the state is the one before the transaction or the one after it, and
    once the commit has returned it is the one after it.
    """
    place = tmp_path / "hypervisor.db"
    log = tmp_path / "hypervisor.db-wal"
    store = Store(place, TestClock())
    _small_log(store)
    for number in range(RUNS):
        old = place.read_bytes(), log.read_bytes(), contents(store)
        store.commit(*random_changes(rng, store.vms(), number + 1), events=[NewEvent(kind="k")])
        new = place.read_bytes(), log.read_bytes(), contents(store)
        in_log = _reopened(tmp_path / f"log-{number}", old[0], _torn_log(rng, old[1], new[1]))
        assert in_log in (old[2], new[2])
        in_checkpoint = _reopened(tmp_path / f"checkpoint-{number}", _torn(rng, old[0], new[0]), new[1])
        assert in_checkpoint == new[2]


def test_a_writer_killed_at_any_moment(tmp_path: Path, rng: random.Random) -> None:
    """What a child process said was committed is there after SIGKILL, and at most one transaction more."""
    place = tmp_path / "hypervisor.db"
    Store(place, TestClock()).close()
    written = 0
    for _ in range(RUNS):
        acknowledged = _kill_writer(place, written + 1, rng.randrange(1, 12))
        store = Store(place, TestClock())
        names = [record.name for record in store.vms()]
        assert names == [f"vm-{number}" for number in range(1, len(names) + 1)]
        assert len(names) in (acknowledged, acknowledged + 1)
        assert store.last_event() == len(names)
        written = len(names)
        store.close()


def _kill_writer(place: Path, first: int, acknowledgements: int) -> int:
    """Let a child write VMs from number `first` on; kill it after so many. Returns the last that was told."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store = Store(place, TestClock())
            for number in range(first, 1 << 20):
                store.commit(put_vm(vm_record(number)), events=[NewEvent(kind="k")])
                os.write(writing, b".")
        finally:
            os._exit(1)
    os.close(writing)
    count = 0
    while count < acknowledgements:
        count += len(os.read(reading, acknowledgements - count))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while rest := os.read(reading, 4096):
        count += len(rest)
    os.close(reading)
    return first - 1 + count
