# SPDX-License-Identifier: Apache-2.0
"""Copies of files that keep their holes, and share blocks where the host's file system can."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_BLOCK_BYTES = 1 << 20
_NO_COPY_RANGE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def copy_sparse(source: Path, target: Path) -> None:
    """Make `target`, which must not exist, a copy of the file `source`. OSError if that fails.

    Source: Linux lseek(2), SEEK_DATA; copy_file_range(2).
    """
    from_fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        to_fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            size_bytes = os.fstat(from_fd).st_size
            position = 0
            while position < size_bytes:
                try:
                    start = os.lseek(from_fd, position, os.SEEK_DATA)
                except OSError as error:
                    if error.errno == errno.ENXIO:
                        break
                    raise
                position = os.lseek(from_fd, start, os.SEEK_HOLE)
                _copy_range(from_fd, to_fd, start, position)
            os.ftruncate(to_fd, size_bytes)
        finally:
            os.close(to_fd)
    finally:
        os.close(from_fd)


def _copy_range(from_fd: int, to_fd: int, start: int, end: int) -> None:
    while start < end:
        try:
            count = os.copy_file_range(from_fd, to_fd, end - start, start, start)
        except OSError as error:
            if error.errno not in _NO_COPY_RANGE:
                raise
            data = os.pread(from_fd, min(_BLOCK_BYTES, end - start), start)
            count = os.pwrite(to_fd, data, start)
        if count == 0:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
        start += count
