# SPDX-License-Identifier: Apache-2.0
"""Folders between this host and a guest, as a tar archive that the guest's `tar` makes or takes.

An archive of a guest is read as a hostile one: nothing is written outside the target, not by way of symbolic
links either, and devices are left out. Times are kept to the second.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from innkeeper.api.frames import FrameKind
from innkeeper.api.models import ExecRequest
from innkeeper.cli.failures import say
from innkeeper.cli.progress import ProgressDisplay
from innkeeper.errors import ConfigError, HostError

if TYPE_CHECKING:
    from innkeeper.cli.copy import Copied
    from innkeeper.client.streams import Stream
    from innkeeper.client.sync import Vm

_SAID_BYTES_MAX = 4096
_NS_PER_S = 1_000_000_000
_PERMISSIONS = 0o1777


class _Pipe:
    """Standard output of a command as a file to read, its input as one to write."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._outputs = stream.outputs()
        self._data = b""
        self._said = b""
        self._status: int | None = None

    def write(self, data: bytes) -> int:
        self._stream.send(data)
        return len(data)

    def end_input(self) -> None:
        self._stream.send_end()

    def read(self, size_bytes: int) -> bytes:
        while len(self._data) < size_bytes and self._next():
            pass
        data, self._data = self._data[:size_bytes], self._data[size_bytes:]
        return data

    def finish(self, what: str) -> None:
        """Wait for the command's end. HostError unless it ended well."""
        while self._next():
            self._data = b""
        if self._status != 0:
            lines = self._said.decode("utf-8", "replace").strip().splitlines()
            reason = lines[-1] if lines else ("it was cut off" if self._status is None else self._status)
            raise HostError(f"{what} failed in the guest: {reason}", "see what its tar says there")

    def _next(self) -> bool:
        if self._status is not None:
            return False
        output = next(self._outputs, None)
        if output is None:
            return False
        if output.kind == FrameKind.EXIT:
            self._status = output.status
            return False
        if output.kind == FrameKind.STDERR:
            self._said = (self._said + output.data)[-_SAID_BYTES_MAX:]
        else:
            self._data += output.data
        return True


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rstrip("/").rpartition("/")
    return folder or "/", name


@contextlib.contextmanager
def _tar(vm: Vm, *arguments: str) -> Iterator[_Pipe]:
    with vm.open_exec(ExecRequest(argv=["tar", *arguments], cwd="/")) as stream:
        yield _Pipe(stream)


def put_tree(vm: Vm, source: Path, target: str, copied: Copied, progress: ProgressDisplay) -> None:
    """Copy the folder `source` to the guest's `target`, whose parent is there."""
    total = sum(
        os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(source) for name in names
    )
    folder, name = _split(target)

    def each(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = int(member.mtime)
        if member.isfile():
            copied.files += 1
            copied.bytes += member.size
            progress.report(source.name or str(source), min(copied.bytes, total), total)
        return member

    with _tar(vm, "-C", folder, "-xpf", "-") as pipe:
        # busybox knows GNU's long names, and not those of pax.
        with tarfile.open(mode="w|", fileobj=cast(IO[bytes], pipe), format=tarfile.GNU_FORMAT) as archive:
            try:
                archive.add(source, f"./{name}", filter=each)
            except OSError as error:
                raise HostError(f"cannot read {error.filename or source}: {error.strerror}") from error
        pipe.end_input()
        pipe.finish(f"writing {target}")


def get_tree(vm: Vm, source: str, target: Path, copied: Copied, progress: ProgressDisplay) -> None:
    """Copy the guest's folder `source` to `target`."""
    folder, name = _split(source)
    with _tar(vm, "-C", folder, "-cf", "-", f"./{name}") as pipe:
        try:
            with tarfile.open(mode="r|", fileobj=cast(IO[bytes], pipe)) as archive:
                tree = Tree(target, [part for part in ("./" + name).split("/") if part not in ("", ".")])
                for member in archive:
                    tree.take(archive, member)
                    if member.isfile():
                        copied.files += 1
                        copied.bytes += member.size
                        progress.report(f"{copied.files} files of {source}", copied.bytes, 0)
                tree.finish()
        except tarfile.TarError as error:
            pipe.finish(f"reading {source}")
            raise HostError(f"the guest's archive of {source} is damaged: {error}", "try again") from error
        except OSError as error:
            raise HostError(f"cannot write {error.filename or target}: {error.strerror}") from error
        pipe.finish(f"reading {source}")
    if tree.left_out:
        say(f"left out {tree.left_out} devices, sockets and pipes")


class Tree:
    """The members of an archive below `target`; `top`: what their names begin with."""

    def __init__(self, target: Path, top: list[str]) -> None:
        self._target, self._top = target, top
        self._links: list[tuple[Path, str]] = []
        self._folders: list[tuple[Path, tarfile.TarInfo]] = []
        self.left_out = 0

    def take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Write one. Links and the folders' permissions wait until the end."""
        path = self._place(member.name)
        if member.isdir():
            if path.is_symlink():
                raise ConfigError(f"{path} is a symbolic link here", "remove it first")
            path.mkdir(mode=0o700, exist_ok=True)
            self._folders.append((path, member))
        elif member.issym():
            self._links.append((path, member.linkname))
        elif member.islnk():
            path.unlink(missing_ok=True)
            os.link(self._place(member.linkname), path, follow_symlinks=False)
        elif member.isfile():
            self._write(archive, member, path)
        else:
            self.left_out += 1

    def finish(self) -> None:
        """All have come."""
        for path, to in self._links:
            path.unlink(missing_ok=True)
            path.symlink_to(to)
        for path, member in reversed(self._folders):
            _dress(path, member)

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        source = archive.extractfile(member)
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "wb") as file:
            if source is not None:
                shutil.copyfileobj(source, file, 1 << 20)
        _dress(path, member)

    def _place(self, name: str) -> Path:
        """Where a member goes. HostError for one that would go elsewhere."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or parts[: len(self._top)] != self._top or name.startswith("/"):
            raise HostError(f"the guest's archive names {name!r}, which is outside", "copy another folder")
        path = self._target
        for part in parts[len(self._top) :]:
            if path.is_symlink():
                raise ConfigError(f"{path} is a symbolic link here", "remove it first")
            path = path / part
        return path


def _dress(path: Path, member: tarfile.TarInfo) -> None:
    """Permissions and time; not the right to be somebody else."""
    os.chmod(path, stat.S_IMODE(member.mode) & _PERMISSIONS)
    time_ns = int(member.mtime) * _NS_PER_S
    with contextlib.suppress(OverflowError, ValueError):
        os.utime(path, ns=(time_ns, time_ns))
