# SPDX-License-Identifier: Apache-2.0
"""Folders of VMs and snapshots: they appear whole, and go whole.

A folder is made under a name of its own and renamed once it is durable. The store holds an `Intent` from
before it appears until its record is there, so that a hypervisor that starts knows what to remove.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from innkeeper.api.places import Places
from innkeeper.errors import HostError
from innkeeper.host.private import private_folder

NEW_PREFIX, OLD_PREFIX = ".new-", ".old-"
DISKS = "disks"


def make_places(places: Places) -> None:
    """Make the folders of the hypervisor, for this user alone. HostError if others could write there."""
    for folder in (places.runtime, places.control_sockets, places.state, places.vms, places.snapshots):
        try:
            private_folder(folder)
            folder.chmod(0o700)
        except OSError as error:
            remedy = "set INNKEEPER_RUNTIME and INNKEEPER_STATE to folders of your own"
            raise HostError(f"cannot use {folder}: {error.strerror or error}", remedy) from error


def make_folder(path: Path, fill: Callable[[Path], None], *, durable: bool = True) -> None:
    """Make `path`, which must not exist, with what `fill` puts into it. HostError if the host cannot."""
    scratch = path.with_name(NEW_PREFIX + path.name)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_folder(scratch)
        scratch.mkdir(mode=0o700)
        fill(scratch)
        if durable:
            _sync_tree(scratch)
        os.rename(scratch, path)
        if durable:
            sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            shutil.rmtree(scratch)
        if isinstance(error, OSError):
            remedy = "free some space, or set INNKEEPER_STATE to a folder that can be written"
            raise HostError(f"cannot make {path}: {error.strerror or error}", remedy) from error
        raise


def make_vm_folders(paths: Sequence[Path], durable: bool) -> None:
    """Make folders of VMs, with nothing in them yet."""
    for path in paths:
        make_folder(path, lambda scratch: (scratch / DISKS).mkdir(0o700), durable=durable)


def remove_folder(path: Path) -> None:
    """Remove `path` with all that is in it; nothing happens if it is not there. OSError if it cannot be."""
    if not path.exists():
        return
    old = path if path.name.startswith((NEW_PREFIX, OLD_PREFIX)) else path.with_name(OLD_PREFIX + path.name)
    if old != path:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(old)
        os.rename(path, old)
    shutil.rmtree(old)
    sync_folder(path.parent)


def remove_remains(parent: Path) -> None:
    """Remove what `make_folder` and `remove_folder` were doing below `parent` when they were ended."""
    with contextlib.suppress(FileNotFoundError):
        for entry in parent.iterdir():
            if entry.name.startswith((NEW_PREFIX, OLD_PREFIX)):
                shutil.rmtree(entry, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove a snapshot's folder, and what its VMM, which may still be at it, keeps beside it until then."""
    remove_folder(folder)
    for part in folder.parent.glob(f".{folder.name}.*"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def write_file(path: Path, data: bytes) -> None:
    """Put `data` in the place of `path`, durable and all at once. OSError if the host cannot."""
    scratch = path.with_name(f"{NEW_PREFIX}{path.name}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_bytes(folder: Path) -> int:
    """What the files below `folder` take on the host's disk."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total


def _sync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            descriptor = os.open(os.path.join(parent, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(parent))
