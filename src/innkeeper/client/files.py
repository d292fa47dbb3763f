# SPDX-License-Identifier: Apache-2.0
"""Files between this host and a guest, as both clients move them: exact bytes, permission bits and times."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from innkeeper.api.decode import decode
from innkeeper.api.frames import FrameKind
from innkeeper.api.models import GuestFile
from innkeeper.client.wire import Output, read_output
from innkeeper.errors import ConfigError, HostError

PART_BYTES = 65536
OnBytes = Callable[[int, int], None]
"""Hears how many bytes of how many have gone."""
PERMISSIONS = 0o7777


def first_message(message: str | bytes | None) -> GuestFile:
    """What the file is, which comes before its bytes. Raises the error that comes instead."""
    if isinstance(message, str):
        return decode(GuestFile, json.loads(message))
    if message is not None:
        read_output(message)
    raise cut_off()


def cut_off() -> HostError:
    """The error for a stream that has no last word."""
    return HostError("the copy was cut off", "see inn logs --source vmm, and copy again")


def is_end(output: Output) -> bool:
    """Whether it is the last one; HostError for an end that is none of a file."""
    if output.kind == FrameKind.EXIT and output.status:
        raise cut_off()
    return output.kind == FrameKind.EXIT


def local_target(path: str, target: Path) -> Path:
    """The file that the guest's `path` becomes at `target`, which may be a folder."""
    return target / (path.rstrip("/").rpartition("/")[2] or "file") if target.is_dir() else target


def require_regular(path: str, file: GuestFile) -> None:
    """ConfigError unless it has bytes that can be copied."""
    if stat.S_ISDIR(file.mode):
        raise ConfigError(f"{path} is a folder in the guest", "inn cp -r copies folders")


class NewFile:
    """A file that appears at `target` when it is whole. OSErrors of it are HostErrors."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
        self._file: BinaryIO | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Take its bytes."""
        try:
            try:
                fd = os.open(self._scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with open(fd, "wb") as file:
                    yield file
            except OSError as error:
                raise HostError(
                    f"cannot write {self._target}: {error.strerror}", "choose another place"
                ) from error
        except BaseException:
            self._scratch.unlink(missing_ok=True)
            raise

    def appear(self, file: GuestFile) -> None:
        """All of it is there: its permissions and time are as in the guest, but nobody else's rights."""
        try:
            os.chmod(self._scratch, file.mode & PERMISSIONS & ~(stat.S_ISUID | stat.S_ISGID))
            with contextlib.suppress(OverflowError, ValueError):
                os.utime(self._scratch, ns=(file.modified_ns, file.modified_ns))
            os.replace(self._scratch, self._target)
        except OSError as error:
            self._scratch.unlink(missing_ok=True)
            raise HostError(
                f"cannot write {self._target}: {error.strerror}", "choose another place"
            ) from error


@contextlib.contextmanager
def source_file(path: Path) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """A file of this host to read. ConfigError if it is none."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path} is no file", "inn cp -r copies folders")
            yield file, status
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder", "inn cp -r copies folders") from None
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}", "check the name") from None
    except PermissionError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", "check its permissions") from None


def parts_of(file: BinaryIO, total: int, on_bytes: OnBytes | None) -> Iterator[bytes]:
    """The bytes of a file in parts, with what has gone told before each."""
    done = 0
    while data := file.read(PART_BYTES):
        if on_bytes is not None:
            on_bytes(done, total)
        yield data
        done += len(data)
    if on_bytes is not None:
        on_bytes(done, total)


def write_query(path: str, status: os.stat_result) -> dict[str, int | str]:
    """What a file is to be in the guest."""
    return {"path": path, "mode": stat.S_IMODE(status.st_mode), "modified_ns": status.st_mtime_ns}
