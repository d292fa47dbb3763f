# SPDX-License-Identifier: Apache-2.0
"""Snapshots and forks of a machine: what the VMM calls.

All of it works on a machine at rest: inside `machine.at_rest(work)`, or before `run` (`load`). A snapshot is
a folder of its own; its parent, if it has one, is a folder beside it:

    snapshot.json   version, sizes, state of harts and devices, digests of the other files
    memory.index    which page of RAM is where
    memory.pack     the pages that no ancestor has, compressed
    memory.raw      a sparse copy to map from, made when it is first needed; can be removed at any time

Identity (MAC address, host name, random seed) is not changed here: the VMM tells the guest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from innkeeper.machine.machine import VirtMachine

AddFiles = Callable[[Path], Mapping[str, object]]
"""Puts further files (frozen disks) into the unfinished folder; what it returns is kept as `extra`."""


@dataclass(frozen=True)
class SnapshotInfo:
    """What a snapshot says of itself. `digest` (hex) names its content; `parent` the folder beside it."""

    folder: Path
    digest: str
    parent: str | None
    hart_count: int
    memory_bytes: int
    stored_bytes: int
    extra: Mapping[str, object]


def save(
    machine: VirtMachine, folder: Path, parent: Path | None = None, add_files: AddFiles | None = None
) -> SnapshotInfo:
    """Write a snapshot of a machine at rest to `folder`, which must not exist; returns when it is durable.

    `parent`: a snapshot in a folder beside it; pages that it or its ancestors hold are not stored again.
    HostError (disk full, say) leaves no folder. ConfigError: `folder` exists, or `parent` is none.
    """
    raise NotImplementedError


class LiveSnapshot:
    """A snapshot that a child process writes while the machine goes on.

    `fileno()` can be read (is at its end) once the child is done; then `finish` does not wait.
    """

    pid: int

    def fileno(self) -> int:
        """A descriptor to wait for with poll(2)."""
        raise NotImplementedError

    def finish(self) -> SnapshotInfo:
        """Wait for the child and give the finished snapshot; raises what it met, as `save` does."""
        raise NotImplementedError


def save_live(
    machine: VirtMachine, folder: Path, parent: Path | None = None, add_files: AddFiles | None = None
) -> LiveSnapshot:
    """As `save`, inside `machine.at_rest`: a fork(2) writes while the machine goes on. Returns at once.

    `add_files` runs in the child.
    """
    raise NotImplementedError


def load(machine: VirtMachine, folder: Path) -> SnapshotInfo:
    """Put the snapshot into `machine`, which was just built with the same devices; `run` then goes on there.

    Memory is mapped copy-on-write and read as the guest touches it. Of each console port that the guest has
    open `on_open(True)` is called. ConfigError with the reason for a folder that is damaged, of another
    version, or of a machine of another shape.
    """
    raise NotImplementedError


def read_info(folder: Path) -> SnapshotInfo:
    """What `snapshot.json` says, whose checksum is verified; nothing else is read. ConfigError: damaged."""
    raise NotImplementedError


def verify(folder: Path) -> SnapshotInfo:
    """Read all of the snapshot and its ancestors and check every digest. ConfigError with what is wrong."""
    raise NotImplementedError


def prepare(folder: Path) -> None:
    """Make what `load` maps (memory.raw), so that the next `load` need not."""
    raise NotImplementedError


def fork(machine: VirtMachine) -> int:
    """fork(2) of a machine at rest, inside `machine.at_rest`: gives the child's pid, and 0 in the child.

    The child is a machine of its own when this returns: RAM is copy-on-write, translated code is shared, the
    I/O thread is new, and when the work of `at_rest` returns, `machine.run` goes on there too. Of the
    process only the thread that called `run` is there. The caller, in the child: first close and replace
    what it shares with the parent (sockets, streams, disks' files); `machine.io` looks at no descriptor.
    """
    raise NotImplementedError
