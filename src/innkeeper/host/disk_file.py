# SPDX-License-Identifier: Apache-2.0
"""What the host's operating system offers for files that hold disks: locks, holes and vectored transfers."""

import ctypes
import errno
import fcntl
import functools
import os
import sys
from collections.abc import Sequence

_IOV_MAX = 1024
_ZEROES = bytes(1 << 16)
_FALLOC_FL_KEEP_SIZE, _FALLOC_FL_PUNCH_HOLE = 1, 2
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EINVAL)


def try_lock(fd: int, *, exclusive: bool) -> bool:
    """Take an advisory lock until `fd` is closed; False when another open file holds one that conflicts."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # A file system without locks (some network mounts) cannot protect; the disk is used all the same.
        return error.errno in (errno.ENOLCK, *_UNSUPPORTED)
    return True


def punch_hole(fd: int, offset_bytes: int, length_bytes: int) -> bool:
    """Make a range read as zeroes and give its blocks back; False where the file system cannot.

    Raises `OSError`. Source: Linux fallocate(2), FALLOC_FL_PUNCH_HOLE.
    """
    if not sys.platform.startswith("linux"):
        return False
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    while _fallocate(fd, mode, offset_bytes, length_bytes) != 0:
        code = ctypes.get_errno()
        if code == errno.EINTR:
            continue
        if code in _UNSUPPORTED:
            return False
        raise OSError(code, os.strerror(code))
    return True


def _fallocate(fd: int, mode: int, offset_bytes: int, length_bytes: int) -> int:
    arguments = (
        ctypes.c_int(fd),
        ctypes.c_int(mode),
        ctypes.c_int64(offset_bytes),
        ctypes.c_int64(length_bytes),
    )
    return int(_libc().fallocate(*arguments))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def sync_data(fd: int) -> None:
    """Return once what was written to `fd` is durable."""
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(fd)


def read_fully(fd: int, offset_bytes: int, buffers: Sequence[memoryview]) -> None:
    """Fill all of `buffers` from the file; what lies behind its end reads as zeroes. Raises `OSError`."""
    rest = list(buffers)
    while rest:
        count = os.preadv(fd, rest[:_IOV_MAX], offset_bytes)
        if count == 0:
            fill_zeroes(rest)
            return
        offset_bytes += count
        rest = advance(rest, count)


def write_fully(fd: int, offset_bytes: int, buffers: Sequence[memoryview]) -> None:
    """Write all of `buffers` to the file. Raises `OSError`; part may have been written then."""
    rest = list(buffers)
    while rest:
        count = os.pwritev(fd, rest[:_IOV_MAX], offset_bytes)
        offset_bytes += count
        rest = advance(rest, count)


def write_zeroes(fd: int, offset_bytes: int, length_bytes: int) -> None:
    """Write zeroes the slow way, block by block."""
    while length_bytes:
        count = os.pwrite(fd, memoryview(_ZEROES)[: min(length_bytes, len(_ZEROES))], offset_bytes)
        offset_bytes += count
        length_bytes -= count


def fill_zeroes(buffers: Sequence[memoryview]) -> None:
    """Set every byte of `buffers` to zero."""
    for buffer in buffers:
        for start in range(0, len(buffer), len(_ZEROES)):
            part = buffer[start : start + len(_ZEROES)]
            part[:] = _ZEROES[: len(part)]


def advance(buffers: list[memoryview], count: int) -> list[memoryview]:
    """What is left of `buffers` behind their first `count` bytes."""
    for position, buffer in enumerate(buffers):
        if count < len(buffer):
            return [buffer[count:], *buffers[position + 1 :]]
        count -= len(buffer)
    return []
