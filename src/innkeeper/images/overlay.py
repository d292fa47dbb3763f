# SPDX-License-Identifier: Apache-2.0
"""Overlays: what a guest writes goes into a file of its own, and the disk underneath stays as it is.

The file of an `OverlayDisk`, all numbers little-endian:

    0       header, 4096 bytes, the last 4 of them the CRC-32 of the others
    4096    table, 8 bytes for each cluster of 64 KiB: 0 in the base, 1 zeroes, else the cluster's offset
    data    clusters, from the first multiple of 64 KiB behind the table on

An entry goes to disk only after its cluster is durable, and a cluster that was freed is used again only after
its old entry is gone from the disk. So a crash at any moment leaves each cluster as it was at the last flush,
or as it was written since; nothing else can be lost or mixed up.
"""

import os
import struct
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from innkeeper.errors import ConfigError, HostError
from innkeeper.host import disk_file
from innkeeper.images.copy_on_write import CLUSTER_BYTES, ZERO, BaseDisk, ClusterDisk
from innkeeper.images.disk import SECTOR_BYTES, RawDisk, disk_error, open_locked

VERSION = 1
SIZE_LIMIT_BYTES = 2 << 40

_MAGIC = b"INNCOWv\n"
_HEADER_BYTES = 4096
_TABLE_PAGE_ENTRIES = 512
# magic; version, cluster size; size, table, data; size and time of the base; length of its path.
_HEADER = struct.Struct("<8s II QQQ Qq I")


@dataclass(frozen=True)
class OverlayHeader:
    """What the first 4096 bytes say. `base_modified_ns` tells whether the base was written since."""

    size_bytes: int
    base_path: Path
    base_size_bytes: int
    base_modified_ns: int

    @property
    def cluster_count(self) -> int:
        return -(-self.size_bytes // CLUSTER_BYTES)

    @property
    def data_offset_bytes(self) -> int:
        end = _HEADER_BYTES + 8 * self.cluster_count
        return -(-end // CLUSTER_BYTES) * CLUSTER_BYTES

    def pack(self) -> bytes:
        """Raises `ConfigError` when the path of the base is too long to be kept."""
        path = os.fsencode(self.base_path)
        if len(path) > _HEADER_BYTES - _HEADER.size - 4:
            raise ConfigError(f"the path of the base disk is too long: {self.base_path}", "move it")
        fixed = (_MAGIC, VERSION, CLUSTER_BYTES, self.size_bytes, _HEADER_BYTES, self.data_offset_bytes)
        head = _HEADER.pack(*fixed, self.base_size_bytes, self.base_modified_ns, len(path)) + path
        head = head.ljust(_HEADER_BYTES - 4, b"\0")
        return head + struct.pack("<I", zlib.crc32(head))

    @classmethod
    def unpack(cls, raw: bytes, path: Path) -> Self:
        """Raises `ConfigError` for anything but a header that `pack` has made."""
        if len(raw) < _HEADER_BYTES or raw[:8] != _MAGIC:
            raise ConfigError(f"{path} is not an overlay", "attach it as a raw disk, or check the path")
        fields = _HEADER.unpack_from(raw)
        version, cluster_bytes, size_bytes, table_offset, data_offset = fields[1:6]
        if version != VERSION:
            remedy = "use the version of Innkeeper that made it"
            raise ConfigError(f"the overlay {path} has format {version}; this knows {VERSION}", remedy)
        if struct.unpack("<I", raw[-4:])[0] != zlib.crc32(raw[:-4]):
            raise _damaged(path, "its header has a wrong checksum")
        base_size_bytes, base_modified_ns, path_length = fields[6:]
        base_path = Path(os.fsdecode(raw[_HEADER.size : _HEADER.size + path_length]))
        header = cls(size_bytes, base_path, base_size_bytes, base_modified_ns)
        sane = 0 < size_bytes <= SIZE_LIMIT_BYTES and size_bytes % SECTOR_BYTES == 0
        layout = (cluster_bytes, table_offset, data_offset)
        if not sane or layout != (CLUSTER_BYTES, _HEADER_BYTES, header.data_offset_bytes):
            raise _damaged(path, "its header makes no sense")
        return header


class OverlayDisk(ClusterDisk):
    """A disk whose base is named in the file `path`, which `OverlayDisk.create` has made.

    Raises `ConfigError` for a damaged file, one in use, or a base that is missing or was changed since.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        fd = open_locked(path, read_only)
        try:
            header, table = _read_overlay(fd, path)
            base = _open_base(header, path)
        except BaseException:
            os.close(fd)
            raise
        super().__init__(base, fd, table, header.size_bytes, path, read_only)
        self._dirty_pages: set[int] = set()
        self._freed: list[int] = []
        self._flush_failure: HostError | None = None
        used = {entry for entry in table if entry > ZERO}
        first = header.data_offset_bytes
        self._end = max(used, default=first - CLUSTER_BYTES) + CLUSTER_BYTES
        self._free = [where for where in range(first, self._end, CLUSTER_BYTES) if where not in used]

    @staticmethod
    def create(path: Path, base_path: Path, size_bytes: int | None = None) -> None:
        """Make an overlay of the raw disk `base_path` with the base's size, or a larger one.

        Raises `ConfigError`, and `HostError` when the host's disk is full; nothing is left at `path` then.
        """
        with RawDisk(base_path, read_only=True) as base:
            size_bytes = base.size_bytes if size_bytes is None else size_bytes
            if size_bytes < base.size_bytes or size_bytes % SECTOR_BYTES or size_bytes > SIZE_LIMIT_BYTES:
                remedy = "give a multiple of 512 bytes, not below the base's size and not above 2 TiB"
                raise ConfigError(f"an overlay cannot have {size_bytes} bytes", remedy)
            header = OverlayHeader(size_bytes, base_path.resolve(), base.size_bytes, base.modified_ns)
        if path.exists():
            raise ConfigError(f"{path} exists already", "remove it, or choose another name")
        _write_new(path, header)

    def flush(self) -> None:
        """Data first, then the table that points to it. Once it has failed it fails for ever."""
        if self._flush_failure is not None:
            raise self._flush_failure
        if self._read_only:
            return
        try:
            disk_file.sync_data(self._fd)
            if self._dirty_pages:
                self._write_table()
                disk_file.sync_data(self._fd)
        except OSError as error:
            self._flush_failure = disk_error(error, self.path, "flush")
            raise self._flush_failure from error
        self._reclaim()

    def close(self) -> None:
        """Flush, then release both files. Raises `HostError` when the flush fails; the files are closed."""
        if self._fd < 0:
            return
        try:
            self.flush()
        finally:
            os.close(self._fd)
            self._fd = -1
            self._base.close()

    def abandon(self) -> None:
        """In a forked child, which gets a copy: close the files and leave them as they are, to the parent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._base.close()

    def _write_table(self) -> None:
        for page in sorted(self._dirty_pages):
            first = page * _TABLE_PAGE_ENTRIES
            entries = self._table[first : first + _TABLE_PAGE_ENTRIES]
            disk_file.write_fully(self._fd, _HEADER_BYTES + 8 * first, [memoryview(entries).cast("B")])
        self._dirty_pages.clear()

    def _reclaim(self) -> None:
        """Clusters freed before this flush are free on disk too now."""
        for where in self._freed:
            try:
                disk_file.punch_hole(self._fd, where, CLUSTER_BYTES)
            except OSError:
                break  # space that is not given back costs nothing but space
        self._free += self._freed
        self._freed.clear()

    def _allocate(self, cluster: int) -> int:
        if self._free:
            return self._free.pop()
        where, self._end = self._end, self._end + CLUSTER_BYTES
        return where

    def _give_back(self, offset_bytes: int) -> None:
        self._free.append(offset_bytes)

    def _release(self, offset_bytes: int) -> None:
        self._freed.append(offset_bytes)

    def _map(self, cluster: int, entry: int) -> None:
        super()._map(cluster, entry)
        self._dirty_pages.add(cluster // _TABLE_PAGE_ENTRIES)


class MemoryOverlay(ClusterDisk):
    """A disk over `base` whose writes are thrown away at the end.

    They are kept in a nameless sparse file in `directory` (the system's temporary one if None), so that they
    cost memory only as the host's page cache. `base` is closed with the overlay. Raises `HostError`.
    """

    def __init__(self, base: BaseDisk, directory: Path | None = None) -> None:
        import tempfile  # takes long to load

        try:
            with tempfile.TemporaryFile(dir=directory) as file:
                fd = os.dup(file.fileno())
        except OSError as error:
            where = directory or Path(tempfile.gettempdir())
            raise HostError(f"no temporary file for a disk in {where}: {error.strerror}") from error
        cluster_count = -(-base.size_bytes // CLUSTER_BYTES)
        table = array("Q", bytes(8 * cluster_count))
        name = directory or Path(tempfile.gettempdir())
        super().__init__(base, fd, table, base.size_bytes, name, read_only=False)

    def flush(self) -> None:
        """Nothing of it has to outlive the machine."""

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._base.close()

    def _allocate(self, cluster: int) -> int:
        # Offset 0 is left out: it means IN_BASE.
        return (cluster + 1) * CLUSTER_BYTES

    def _give_back(self, offset_bytes: int) -> None:
        pass

    def _release(self, offset_bytes: int) -> None:
        try:
            disk_file.punch_hole(self._fd, offset_bytes, CLUSTER_BYTES)
        except OSError as error:
            raise disk_error(error, self.path, "discard") from error


def _damaged(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"the overlay {path} is damaged: {what}", "restore it from a backup, or make a new one"
    )


def _read_overlay(fd: int, path: Path) -> tuple[OverlayHeader, "array[int]"]:
    """The header and the table, every entry of which is checked."""
    try:
        header = OverlayHeader.unpack(os.pread(fd, _HEADER_BYTES, 0), path)
        file_bytes = os.lseek(fd, 0, os.SEEK_END)
        table_bytes = 8 * header.cluster_count
        if file_bytes < _HEADER_BYTES + table_bytes:
            raise _damaged(path, "its table is cut off")
        table = array("Q", bytes(table_bytes))
        disk_file.read_fully(fd, _HEADER_BYTES, [memoryview(table).cast("B")])
    except OSError as error:
        raise disk_error(error, path, "read") from error
    used = [entry for entry in table if entry > ZERO]
    if len(set(used)) != len(used):
        raise _damaged(path, "two clusters are in one place")
    first, last = header.data_offset_bytes, file_bytes - CLUSTER_BYTES
    if any(entry % CLUSTER_BYTES or not first <= entry <= last for entry in used):
        raise _damaged(path, "its table points outside of it")
    return header, table


def _open_base(header: OverlayHeader, path: Path) -> RawDisk:
    base = RawDisk(header.base_path, read_only=True)
    if (base.size_bytes, base.modified_ns) != (header.base_size_bytes, header.base_modified_ns):
        base.close()
        remedy = "restore the base as it was, or make a new overlay"
        raise ConfigError(
            f"the base {header.base_path} of {path} was changed since the overlay was made", remedy
        )
    return base


def _write_new(path: Path, header: OverlayHeader) -> None:
    """Header and an empty table, under a temporary name until all of it is durable."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        fd = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            disk_file.write_fully(fd, 0, [memoryview(header.pack())])
            # The table's blocks are taken now, so that no flush finds the host's disk full because of it.
            disk_file.write_zeroes(fd, _HEADER_BYTES, header.data_offset_bytes - _HEADER_BYTES)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise disk_error(error, path, "create") from error
