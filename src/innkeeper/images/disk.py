# SPDX-License-Identifier: Apache-2.0
"""Raw disks: a file or a block device of the host, byte for byte what the guest sees.

A file is always taken as the user names it, raw or overlay. Its contents are never asked which it is, because
the guest writes them and could make its raw disk look like an overlay of any file of the host.
"""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from innkeeper.errors import ConfigError, HostError
from innkeeper.host import disk_file

SECTOR_BYTES = 512


class RawDisk:
    """The disk in `path`, locked against a second writer for as long as it is open.

    A read-only disk whose length is not a multiple of 512 is padded with zeroes. Raises `ConfigError` for a
    file that is missing, empty, in use, or no disk. The methods satisfy `DiskBackend` and raise `HostError`.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._flush_failure: HostError | None = None
        self._fd = open_locked(path, read_only)
        try:
            length_bytes = os.lseek(self._fd, 0, os.SEEK_END)
            self._size_bytes = -(-length_bytes // SECTOR_BYTES) * SECTOR_BYTES
            if length_bytes == 0:
                raise ConfigError(f"the disk {path} is empty", f"give it a size: truncate -s 1G {path}")
            if length_bytes != self._size_bytes and not read_only:
                remedy = f"truncate -s {self._size_bytes} {path}, or attach it read-only"
                raise ConfigError(f"the size of the disk {path} is not a multiple of 512 bytes", remedy)
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def modified_ns(self) -> int:
        """When the file was last written, for an overlay to notice that its base has changed."""
        return os.fstat(self._fd).st_mtime_ns

    def readv(self, offset_bytes: int, buffers: Sequence[memoryview]) -> None:
        try:
            disk_file.read_fully(self._fd, offset_bytes, buffers)
        except OSError as error:
            raise disk_error(error, self.path, "read") from error

    def writev(self, offset_bytes: int, buffers: Sequence[memoryview]) -> None:
        try:
            disk_file.write_fully(self._fd, offset_bytes, buffers)
        except OSError as error:
            raise disk_error(error, self.path, "write") from error

    def flush(self) -> None:
        """Once it has failed it fails for ever: the host may have dropped what it could not write."""
        if self._flush_failure is not None:
            raise self._flush_failure
        if self._read_only:
            return
        try:
            disk_file.sync_data(self._fd)
        except OSError as error:
            self._flush_failure = disk_error(error, self.path, "flush")
            raise self._flush_failure from error

    def discard(self, offset_bytes: int, length_bytes: int) -> None:
        """Give the blocks back to the host where its file system can; they read as zeroes then."""
        try:
            disk_file.punch_hole(self._fd, offset_bytes, length_bytes)
        except OSError as error:
            raise disk_error(error, self.path, "discard") from error

    def write_zeroes(self, offset_bytes: int, length_bytes: int) -> None:
        try:
            if not disk_file.punch_hole(self._fd, offset_bytes, length_bytes):
                disk_file.write_zeroes(self._fd, offset_bytes, length_bytes)
        except OSError as error:
            raise disk_error(error, self.path, "write") from error

    def close(self) -> None:
        """Release the file and its lock. What was not flushed is the host's to write."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_locked(path: Path, read_only: bool) -> int:
    """Open a file or block device that holds a disk; returns its descriptor. Raises `ConfigError`."""
    try:
        # Not blocking: the open of a pipe would wait for its other end.
        fd = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        writing = not read_only and error.errno in (errno.EACCES, errno.EROFS)
        remedy = "attach it read-only" if writing else "name a raw file or a block device"
        if error.errno == errno.ENOENT:
            remedy = "check the path"
        elif error.errno in (errno.EACCES, errno.EPERM) and not writing:
            remedy = "check its permissions"
        raise ConfigError(f"cannot open the disk {path}: {error.strerror}", remedy) from error
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise ConfigError(f"{path} is not a disk", "name a file or a block device")
        if not disk_file.try_lock(fd, exclusive=not read_only):
            remedy = "give it to one machine, once; or read-only wherever it is attached"
            raise ConfigError(f"the disk {path} is in use", remedy)
    except BaseException:
        os.close(fd)
        raise
    return fd


def disk_error(error: OSError, path: Path, action: str) -> HostError:
    """What the user should know of a failed transfer."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return HostError(f"no space left on the host for the disk {path}", "free some space there")
    return HostError(f"cannot {action} the disk {path}: {error.strerror}", "the host's kernel log says more")
