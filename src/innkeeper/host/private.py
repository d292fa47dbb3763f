# SPDX-License-Identifier: Apache-2.0
"""Folders and files that no other user can have written: what is in them may be executed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OTHERS_WRITE = 0o022


def is_private(status: os.stat_result) -> bool:
    """Whether it belongs to this user, and nobody else may write it."""
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE


def private_folder(path: Path) -> Path:
    """`path`, made for this user alone if need be; its parents are made as usual.

    PermissionError if it is somebody else's, or others may write there; OSError if it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode) or not is_private(status):
        raise PermissionError(f"{path} is not a folder that only this user may write")
    return path


def read_private(path: Path, limit_bytes: int) -> bytes:
    """The content of a regular file that only this user may write.

    OSError if it is something else, or of more than `limit_bytes`.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or not is_private(status):
            raise PermissionError(f"{path} is not a file that only this user may write")
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise OSError(f"{path} is larger than {limit_bytes} bytes")
    return data
