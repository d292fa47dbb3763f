# SPDX-License-Identifier: Apache-2.0
"""Reading binary packages (.deb, .udeb).

Source: deb(5) "Debian binary package format".
"""

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import arpy
import zstandard

from innkeeper.errors import HostError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_DAMAGED = (
    arpy.ArchiveFormatError,
    arpy.ArchiveAccessError,
    tarfile.TarError,
    lzma.LZMAError,
    zstandard.ZstdError,
)


class _Counted(io.RawIOBase):
    """The bytes of `stream`, telling how many were read: they are what takes the time."""

    def __init__(self, stream: IO[bytes], read: Callable[[int], None]) -> None:
        self._stream, self._told = stream, read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        data = self._stream.read(len(view))
        view[: len(data)] = data
        self._told(len(data))
        return len(data)


def _decompressed(name: str, stream: IO[bytes]) -> IO[bytes]:
    match name.rpartition(".")[2]:
        case "xz":
            return cast(IO[bytes], lzma.open(stream))
        case "gz":
            return cast(IO[bytes], gzip.open(stream))
        case "zst":
            return cast(IO[bytes], zstandard.ZstdDecompressor().stream_reader(stream))
        case "tar":
            return stream
    raise tarfile.ReadError(f"unknown compression of {name}")


@contextmanager
def open_member(
    path: Path, member: str, read: Callable[[int], None] | None = None
) -> Iterator[tarfile.TarFile]:
    """The tar archive `member` (`control` or `data`) of the package at `path`, to be read front to back.

    `read` hears of the bytes of the file as they are needed.

    Raises HostError if the file is not a Debian package or is damaged.
    """
    try:
        with arpy.Archive(str(path)) as package:
            for entry in package:
                name = entry.header.name.decode("ascii", "replace").rstrip("/")
                if name == f"{member}.tar" or name.startswith(f"{member}.tar."):
                    raw = cast(IO[bytes], entry)
                    counted = io.BufferedReader(_Counted(raw, read), 1 << 16) if read else raw
                    with (
                        _decompressed(name, counted) as stream,
                        tarfile.open(fileobj=stream, mode="r|") as tar,
                    ):
                        yield tar
                    return
        raise tarfile.ReadError(f"no {member}.tar in it")
    except (*_DAMAGED, EOFError) as error:
        raise HostError(
            f"{path} is not a whole Debian package: {error}", "remove the file and try again"
        ) from error


def normal_path(name: str) -> str:
    """A tar member's path as packages mean it: relative, without `./`; empty for the root.

    Raises HostError for a path that leaves the root.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise HostError(
            f"a package holds the path {name}, which leaves the root",
            "set INNKEEPER_MIRROR to another mirror",
        )
    return "/".join(parts)
