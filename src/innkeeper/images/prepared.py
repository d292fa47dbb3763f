# SPDX-License-Identifier: Apache-2.0
"""Where snapshots of booted guests are kept, from which later starts of their images go on.

`prepared/IMAGE/KEY` below the cache folder is a snapshot; the key is a digest of all that such a start
depends on. Nothing here is precious: what is missing is made again by the next start. It is bounded, and
what was used longest ago goes first. A folder goes in one step, so that nobody finds half of it; who has
mapped its memory keeps it.
"""

import os
from contextlib import suppress
from pathlib import Path

from innkeeper.host.private import private_folder
from innkeeper.host.tree import remove_tree
from innkeeper.images.cache import cache_directory, storing

LIMIT_BYTES = 2 << 30
LIMIT_COUNT = 8


def prepared_folder(image: str, key: str) -> Path:
    """Where the snapshot of a prepared start is, or would be; nothing is made."""
    return cache_directory() / "prepared" / image / key


def make_parents(folder: Path) -> None:
    """Make the folders above `folder`, for this user alone: a guest's memory is in there. HostError."""
    with storing(folder.parent):
        private_folder(folder.parent.parent)
        private_folder(folder.parent)


def note_use(folder: Path) -> None:
    """It was used now."""
    with suppress(OSError):
        os.utime(folder)


def prepared_bytes(image: str) -> int:
    """What the prepared starts of `image` take on the host's disk."""
    return sum(map(_size_bytes, _entries(cache_directory() / "prepared" / image)))


def drop(folder: Path) -> None:
    """Remove one; harmless if it is gone already."""
    # By this name `snapshot_folder.remove_leftovers` knows it if the removal is interrupted.
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    with suppress(OSError):
        os.rename(folder, aside)
    remove_tree(aside)


def drop_all(image: str) -> None:
    """Remove all prepared starts of `image`."""
    for folder in _entries(cache_directory() / "prepared" / image):
        drop(folder)


def make_room(limit_bytes: int = LIMIT_BYTES, limit_count: int = LIMIT_COUNT) -> None:
    """Drop what was used longest ago until one more has a place; one that is larger than all stays out."""
    folders = [folder for image in _entries(cache_directory() / "prepared") for folder in _entries(image)]
    folders.sort(key=_last_used_ns, reverse=True)
    total_bytes = 0
    for number, folder in enumerate(folders):
        total_bytes += _size_bytes(folder)
        if number + 1 >= limit_count or total_bytes > limit_bytes:
            drop(folder)


def _entries(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir()]
    except OSError:
        return []


def _last_used_ns(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _size_bytes(folder: Path) -> int:
    total = 0
    with suppress(OSError):
        for path in folder.iterdir():
            total += path.stat().st_blocks * 512
    return total
