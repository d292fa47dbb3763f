# SPDX-License-Identifier: Apache-2.0
"""The folder in which downloads and built images are kept.

Nothing in it is ever half-written under its final name: files appear by an atomic rename after they have
been flushed. What is read back is checked, so a damaged file is made again and never used.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from innkeeper.errors import HostError
from innkeeper.images.progress import Progress, reporting

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/innkeeper`, else `~/.cache/innkeeper`; a relative XDG_CACHE_HOME is ignored.

    Source: XDG Base Directory Specification 0.8, "Environment variables".
    """
    base = environment.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path(environment.get("HOME") or Path.home()) / ".cache"
    return root / "innkeeper"


@contextmanager
def storing(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusal to store something below `folder` into a HostError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise HostError(
                f"no room left on the disk that holds {folder}",
                "free some space, or set XDG_CACHE_HOME to a folder on a larger disk",
            ) from error
        raise HostError(
            f"cannot write below {folder}: {error.strerror or error}",
            "make the folder writable, or set XDG_CACHE_HOME to one that is",
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` when the block ends without an error.

    Raises HostError if the disk is full or the folder cannot be written; then nothing is left behind.
    """
    with storing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        from tempfile import mkstemp  # takes long to load

        descriptor, temporary = mkstemp(prefix=path.name[:40] + ".", suffix=".new", dir=path.parent)
    try:
        with storing(path.parent), os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        with storing(path.parent):
            os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_file(path: Path, data: bytes) -> None:
    """Store `data` as `path`, atomically. Raises HostError as `replacing` does."""
    with replacing(path) as stream:
        stream.write(data)


def sha256_of(path: Path, update: Callable[[int], None] | None = None) -> str | None:
    """Hexadecimal SHA-256 of a file, None if it cannot be read. `update` hears of bytes as they are read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                if update is not None:
                    update(len(block))
    except OSError:
        return None
    return digest.hexdigest()


@contextmanager
def locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock file `path`; says so through `progress` when another process has it.

    The operating system drops the lock of a process that ends, however it ends.
    """
    # Most who look into the cache write nothing there.
    from filelock import FileLock, Timeout

    with storing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with reporting(progress, "waiting for another inn", None, "steps"):
                lock.acquire()
    try:
        yield
    finally:
        lock.release()
