# SPDX-License-Identifier: Apache-2.0
"""Writing and reading initramfs archives (cpio, "newc").

Written here because no kept library writes newc archives from memory without reading the host's files.
Output depends on nothing but the input: inode numbers count up and times are zero.

Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass

from innkeeper.errors import ConfigError

_MAGIC = b"070701"
_HEADER_BYTES = 110
_ALIGNMENT_BYTES = 4
_TRAILER = b"TRAILER!!!"
_FIELD_LIMIT = 1 << 32


@dataclass(frozen=True)
class Entry:
    """One file. `mode` has type and permission bits as in `st_mode`; `data` of a link is its target."""

    path: bytes
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def _padding(length: int) -> bytes:
    return bytes(-length % _ALIGNMENT_BYTES)


class Writer:
    """Collects entries; parent folders that are missing are added with mode 0755."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Entry] = {}

    def _add(self, entry: Entry) -> None:
        path = entry.path.strip(b"/")
        if not path or b"\0" in path or any(part in (b"", b".", b"..") for part in path.split(b"/")):
            raise ValueError(f"not a path for an archive: {entry.path!r}")
        parent = path.rpartition(b"/")[0]
        if parent and parent not in self._entries:
            self._add(Entry(parent, stat.S_IFDIR | 0o755))
        self._entries[path] = Entry(path, entry.mode, entry.data, entry.device)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file with permission bits `mode`."""
        self._add(Entry(path.encode(), stat.S_IFREG | mode, data))

    def folder(self, path: str, mode: int = 0o755) -> None:
        """Add a folder."""
        self._add(Entry(path.encode(), stat.S_IFDIR | mode))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link to `target`."""
        self._add(Entry(path.encode(), stat.S_IFLNK | 0o777, target.encode()))

    def character_device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device node."""
        self._add(Entry(path.encode(), stat.S_IFCHR | mode, b"", (major, minor)))

    def archive(self) -> bytes:
        """The archive, with its trailer, a multiple of 4 bytes long."""
        parts = [_encode(number, entry) for number, entry in enumerate(self._entries.values(), 1)]
        parts.append(_encode(0, Entry(_TRAILER, 0)))
        return b"".join(parts)


def _encode(inode: int, entry: Entry) -> bytes:
    if len(entry.data) >= _FIELD_LIMIT:
        raise ConfigError(f"{entry.path!r} is too large for an initramfs", "keep files below 4 GiB")
    name = entry.path + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = _MAGIC + b"".join(b"%08X" % field for field in fields) + name
    return head + _padding(len(head)) + entry.data + _padding(len(entry.data))


def read_entries(archive: bytes) -> Iterator[Entry]:
    """Yield the entries of one or several concatenated archives. Raises ConfigError if they are damaged."""
    position = 0
    while position < len(archive):
        if archive[position : position + 1] == b"\0":
            position += 1
            continue
        header = archive[position : position + _HEADER_BYTES]
        try:
            if header[:6] != _MAGIC or len(header) != _HEADER_BYTES:
                raise ValueError("no header")
            fields = [int(header[start : start + 8], 16) for start in range(6, _HEADER_BYTES, 8)]
            name_end = position + _HEADER_BYTES + fields[11]
            name = archive[position + _HEADER_BYTES : name_end - 1]
            data_start = name_end + (-(name_end - position) % _ALIGNMENT_BYTES)
            position = data_start + fields[6] + (-fields[6] % _ALIGNMENT_BYTES)
            if fields[11] == 0 or position > len(archive):
                raise ValueError("cut off")
        except ValueError as error:
            raise ConfigError(f"the initramfs archive is damaged: {error}", "make it again") from error
        if name != _TRAILER:
            yield Entry(
                name, fields[1], archive[data_start : data_start + fields[6]], (fields[9], fields[10])
            )


def join_initrd(*archives: bytes) -> bytes:
    """Concatenate archives so that the kernel unpacks one after the other.

    Each starts on a multiple of 4 bytes; the kernel skips zero bytes between archives.
    """
    return b"".join(archive + _padding(len(archive)) for archive in archives)
