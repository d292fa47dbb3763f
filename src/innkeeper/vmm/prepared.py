# SPDX-License-Identifier: Apache-2.0
"""Prepared starts: the first start of an image leaves a snapshot of the booted guest, later ones go on there.

The snapshot is taken when the guest's agent answers and the guest has come to rest, before the command: so
nothing of the user's is in it. A child process writes it while the command runs. Whatever is wrong with one,
the guest boots instead, and the next one is made.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from innkeeper.errors import HostError, InnkeeperError
from innkeeper.host.sparse_copy import copy_sparse
from innkeeper.images import prepared as store
from innkeeper.images.overlay import OverlayDisk
from innkeeper.images.store import BootFiles
from innkeeper.machine.snapshot_folder import remove_leftovers
from innkeeper.vmm.command_guest import CommandGuest

ROOT = "root.overlay"
"""In the snapshot's folder: what the guest has written to its root disk until then."""
_SOURCES = (
    "api", "devices", "engines", "guest_agent", "host", "images", "ir", "isa", "machine", "runtime", "spec",
    "vmm",
)  # fmt: skip
_PACKAGE = Path(__file__).resolve().parents[1]
_LOOK_NS = 10_000_000
_PATIENCE_NS = 700_000_000
"""So long may the guest take to come to rest before it is kept as it is."""
_REST_INSTRUCTIONS = 20_000
"""A guest that does less between two looks is at rest."""


@dataclass(frozen=True)
class StartShape:
    """What a start depends on beside the image's files."""

    image: str
    append: str
    cpus: int
    memory_bytes: int
    engine: str
    card_count: int


class PreparedStart:
    """The snapshot that starts of this shape go on from, which may not be there yet."""

    def __init__(self, shape: StartShape, files: BootFiles) -> None:
        self._root_disk = files.root_disk
        self.folder = store.prepared_folder(shape.image, _key(shape, files))

    @property
    def exists(self) -> bool:
        """Whether there is one to try."""
        return self.folder.exists()

    @contextlib.contextmanager
    def open_root(self, *, restored: bool) -> Iterator[OverlayDisk | None]:
        """The image's root disk under a throw-away overlay; as it was in the snapshot if `restored`.

        None for an image without one. InnkeeperError if it cannot be had.
        """
        if self._root_disk is None:
            yield None
            return
        store.make_parents(self.folder)
        path = self.folder.with_name(f".disk-{os.urandom(4).hex()}.{os.getpid()}.part")
        try:
            if restored:
                _copy(self.folder / ROOT, path)
            else:
                OverlayDisk.create(path, self._root_disk)
            disk = OverlayDisk(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        try:
            yield disk
        finally:
            disk.abandon()
            path.unlink(missing_ok=True)

    def restore(self, guest: CommandGuest) -> None:
        """Let `guest`, just made, go on from the snapshot. InnkeeperError if it is damaged or gone."""
        from innkeeper.machine.snapshot import load

        load(guest.machine, self.folder)
        store.note_use(self.folder)
        guest.resumed()

    def drop(self) -> None:
        """It is of no use: away with it."""
        store.drop(self.folder)

    def keep(self, guest: CommandGuest, root: OverlayDisk | None) -> None:
        """Before `guest` boots: have it kept once it is ready, unless somebody does so already."""
        with contextlib.suppress(OSError, HostError):
            store.make_parents(self.folder)
            remove_leftovers(self.folder.parent)
            if not self.exists and not any(self.folder.parent.glob(f".{self.folder.name}.*.part")):
                guest.on_ready = lambda: _Keeper(self.folder, guest, root).begin()


class _Keeper:
    """Takes the snapshot of a guest that is ready, then starts its command."""

    def __init__(self, folder: Path, guest: CommandGuest, root: OverlayDisk | None) -> None:
        self._folder = folder
        self._guest = guest
        self._root = root
        self._deadline_ns = guest.clock.now_ns() + _PATIENCE_NS
        self._instructions = 0

    def begin(self) -> None:
        """Look until the guest is at rest. Machine lock held."""
        done = sum(hart.retired() for hart in self._guest.machine.harts)
        now_ns = self._guest.clock.now_ns()
        if done - self._instructions <= _REST_INSTRUCTIONS or now_ns >= self._deadline_ns:
            threading.Thread(target=self._take, name="prepared start", daemon=True).start()
            return
        self._instructions = done
        self._guest.machine.io.call_at(now_ns + _LOOK_NS, self.begin)

    def _take(self) -> None:
        """On a thread without the lock, which outlives the snapshot to wait for the child."""
        from innkeeper.machine.fork import LiveSnapshot, save_live

        guest, folder = self._guest, self._folder
        frozen = folder.with_name(f".{folder.name}.root.{os.getpid()}.part")

        def add_files(part: Path) -> Mapping[str, object]:
            if self._root is not None:
                os.rename(frozen, part / ROOT)
            store.make_room()
            return {}

        def begin() -> LiveSnapshot:
            if self._root is not None:
                self._root.flush()
                _copy(self._root.path, frozen)
            return save_live(guest.machine, folder, None, add_files, detached=True)

        live = None
        # A host that has no room for it goes without.
        with contextlib.suppress(InnkeeperError):
            live = guest.machine.at_rest(begin)
        with guest.machine.lock:
            if not guest.machine.is_ending:
                guest.start_command()
        if live is not None:
            with contextlib.suppress(InnkeeperError, OSError):
                live.finish()
        frozen.unlink(missing_ok=True)


def _key(shape: StartShape, files: BootFiles) -> str:
    """Digest of all that the booted guest comes from: the image's files, the machine, and our own code."""
    digest = hashlib.sha256(json.dumps(vars(shape), sort_keys=True).encode())
    for path in (files.kernel, files.initrd, files.root_disk):
        if path is not None:
            status = path.stat()
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    digest.update(files.append.encode())
    for folder in _SOURCES:
        for line in _stamps(str(_PACKAGE / folder)):
            digest.update(line.encode())
    return digest.hexdigest()[:32]


def _stamps(folder: str) -> Iterator[str]:
    """What tells whether a source file was changed: its length and the time of its last change."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.endswith(".py"):
            status = entry.stat()
            yield f"{entry.path}\0{status.st_size}\0{status.st_mtime_ns}\n"
        elif entry.is_dir() and entry.name != "__pycache__":
            yield from _stamps(entry.path)


def _copy(source: Path, target: Path) -> None:
    try:
        copy_sparse(source, target)
    except OSError as error:
        raise HostError(
            f"the disk {source} cannot be copied: {error.strerror}", "free some space, or use --cold"
        ) from error
