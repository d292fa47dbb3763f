# SPDX-License-Identifier: Apache-2.0
"""The files of a Debian root as one tar archive, made from package files without root and without dpkg.

The guest unpacks it and lets its own dpkg configure the packages (see guest/build-disk).
"""

import io
import stat
import tarfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from innkeeper.errors import HostError
from innkeeper.images.deb import normal_path, open_member
from innkeeper.images.dpkg import Unpacked, read_control, trigger_records
from innkeeper.images.progress import ProgressTask

_MERGED = ("bin", "sbin", "lib", "lib64")


def merged(path: str) -> str:
    """Where `path` really is in a root whose `/bin`, `/sbin` and `/lib` are links into `/usr`."""
    first, slash, _ = path.partition("/")
    return f"usr/{path}" if slash and first in _MERGED else path


class RootWriter:
    """Writes the tar archive of a root. Files are added before `finish`."""

    def __init__(self, stream: BinaryIO, left_out: Sequence[str]) -> None:
        self._tar = tarfile.TarFile(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT)
        self._left_out = left_out
        self._folders: set[str] = set()
        self._packages: list[Unpacked] = []

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file that belongs to no package."""
        member = tarfile.TarInfo(path)
        member.size, member.mode = len(data), mode
        self._tar.addfile(member, io.BytesIO(data))

    def folder(self, path: str, mode: int = 0o755) -> None:
        """Add a folder that belongs to no package."""
        member = tarfile.TarInfo(path)
        member.type, member.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(member)

    def _is_left_out(self, path: str) -> bool:
        verdict = False
        for pattern in self._left_out:
            if fnmatchcase(f"/{path}", pattern.removeprefix("!")):
                verdict = not pattern.startswith("!")
        return verdict

    def package(self, path: Path) -> None:
        """Add what the package file at `path` ships. Raises HostError if it is damaged or hostile."""
        package = read_control(path)
        conffiles = set(package.conffiles)
        with open_member(path, "data") as tar:
            for member in tar:
                name = normal_path(member.name)
                if not name:
                    continue
                package.paths.append(name)
                stream = tar.extractfile(member) if member.isreg() else None
                data = stream.read() if stream is not None else None
                if f"/{name}" in conffiles and data is not None:
                    package.note_conffile(f"/{name}", data)
                self._copy(member, name, data)
        self._packages.append(package)

    def _copy(self, member: tarfile.TarInfo, name: str, data: bytes | None) -> None:
        target = merged(name)
        if member.isdir():
            if target in self._folders or name in _MERGED:
                return
            self._folders.add(target)
        elif self._is_left_out(name):
            return
        elif member.islnk():
            member.linkname = merged(normal_path(member.linkname))
        elif not (member.isreg() or member.issym()):
            raise HostError(
                f"a package ships {name}, which is not a file, folder or link", "use another mirror"
            )
        member.name = target
        member.uname = member.gname = ""
        member.pax_headers = {}
        self._tar.addfile(member, None if data is None else io.BytesIO(data))

    def finish(self) -> None:
        """Add dpkg's records of all packages and end the archive."""
        base = "var/lib/dpkg"
        for folder in ("updates", "info", "triggers", "alternatives", "parts"):
            self.folder(f"{base}/{folder}")
        self.file(f"{base}/status", "\n".join(package.status() for package in self._packages).encode())
        self.file(f"{base}/available", b"")
        self.file(f"{base}/info/format", b"1\n")
        for package in self._packages:
            for name, (data, mode) in package.records().items():
                self.file(f"{base}/info/{name}", data, mode)
        for name, data in trigger_records(self._packages).items():
            self.file(f"{base}/triggers/{name}", data)
        self._tar.close()


def write_root(
    stream: BinaryIO,
    packages: Sequence[Path],
    left_out: Sequence[str],
    settings: dict[str, str],
    task: ProgressTask,
) -> None:
    """Write the tar archive of a root with `packages` and the text files `settings` (path to contents).

    `left_out` are patterns of absolute paths as in dpkg's path-exclude; a `!` before one brings files back.
    One step of `task` per package.
    """
    writer = RootWriter(stream, left_out)
    for path in packages:
        writer.package(path)
        task.advance(1)
    for name, text in settings.items():
        writer.file(name, text.encode(), 0o755 if text.startswith("#!") else 0o644)
    writer.folder("root", stat.S_IRWXU)
    writer.finish()
