# SPDX-License-Identifier: Apache-2.0
"""Copy-on-write over a read-only disk, in clusters of 64 KiB.

A table says of each cluster where it is: in the base, all zeroes, or at an offset of our own file. This
module moves data by that table; where clusters are put and how the table is kept is left to the classes built
on it.
"""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from innkeeper.host import disk_file
from innkeeper.images.disk import disk_error

CLUSTER_BYTES = 65536
IN_BASE, ZERO = 0, 1
"""Values of a table entry; any other is the offset of the cluster in the file."""


class BaseDisk(Protocol):
    """The disk underneath, only read. `close` ends it with the overlay."""

    @property
    def size_bytes(self) -> int: ...

    def readv(self, offset_bytes: int, buffers: Sequence[memoryview]) -> None: ...

    def close(self) -> None: ...


class ClusterDisk:
    """A disk of `size_bytes` over `base`, whose changed clusters are in the file `fd`, placed by `table`.

    The methods satisfy `DiskBackend` and raise `HostError`. A write that fails leaves the table as it was.
    """

    def __init__(
        self, base: BaseDisk, fd: int, table: "array[int]", size_bytes: int, path: Path, read_only: bool
    ) -> None:
        self.path = path
        self._base, self._fd, self._table = base, fd, table
        self._size_bytes, self._read_only = size_bytes, read_only

    # What a class built on this one implements.

    def _allocate(self, cluster: int) -> int:
        """An offset in the file for a cluster that has no place there yet."""
        raise NotImplementedError

    def _release(self, offset_bytes: int) -> None:
        """The cluster at this offset of the file is not referenced any more."""
        raise NotImplementedError

    def _give_back(self, offset_bytes: int) -> None:
        """The cluster just allocated could not be written."""
        raise NotImplementedError

    def _map(self, cluster: int, entry: int) -> None:
        self._table[cluster] = entry

    def flush(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    # What a disk offers.

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def read_only(self) -> bool:
        return self._read_only

    def readv(self, offset_bytes: int, buffers: Sequence[memoryview]) -> None:
        rest = list(buffers)
        for where, length in self._runs(offset_bytes, sum(map(len, rest))):
            part, rest = _split(rest, length)
            if where == IN_BASE:
                self._read_base(offset_bytes, part)
            elif where == ZERO:
                disk_file.fill_zeroes(part)
            else:
                self._read_file(where, part)
            offset_bytes += length

    def writev(self, offset_bytes: int, buffers: Sequence[memoryview]) -> None:
        rest = list(buffers)
        extents: list[tuple[int, list[memoryview]]] = []
        fresh: list[tuple[int, int]] = []
        try:
            extent_end = -1
            for cluster, start, length in _pieces(offset_bytes, sum(map(len, rest))):
                part, rest = _split(rest, length)
                where = self._table[cluster] + start
                if self._table[cluster] <= ZERO:
                    where = self._allocate(cluster)
                    fresh.append((cluster, where))
                    part = [*self._old(cluster, 0, start), *part, *self._old(cluster, start + length, None)]
                    length = CLUSTER_BYTES
                if where == extent_end:
                    extents[-1][1].extend(part)
                else:
                    extents.append((where, part))
                extent_end = where + length
            for where, part in extents:
                disk_file.write_fully(self._fd, where, part)
        except BaseException as error:
            for _, where in fresh:
                self._give_back(where)
            if isinstance(error, OSError):
                raise disk_error(error, self.path, "write") from error
            raise
        for cluster, where in fresh:
            self._map(cluster, where)

    def discard(self, offset_bytes: int, length_bytes: int) -> None:
        """Free the clusters that lie wholly inside; the rest is kept, as a discard is only a hint."""
        for cluster, _, length in _pieces(offset_bytes, length_bytes):
            if self._is_whole(cluster, length) and self._table[cluster] > ZERO:
                self._drop(cluster)

    def write_zeroes(self, offset_bytes: int, length_bytes: int) -> None:
        for cluster, start, length in _pieces(offset_bytes, length_bytes):
            if self._table[cluster] == ZERO:
                continue
            if self._is_whole(cluster, length):
                self._drop(cluster)
            else:
                self.writev(cluster * CLUSTER_BYTES + start, [memoryview(bytes(length))])

    def _drop(self, cluster: int) -> None:
        offset_bytes = self._table[cluster]
        self._map(cluster, ZERO)
        if offset_bytes > ZERO:
            self._release(offset_bytes)

    def _is_whole(self, cluster: int, length_bytes: int) -> bool:
        return length_bytes == min(CLUSTER_BYTES, self._size_bytes - cluster * CLUSTER_BYTES)

    def _runs(self, offset_bytes: int, length_bytes: int) -> Iterator[tuple[int, int]]:
        """(IN_BASE, ZERO or offset in the file; length) of the pieces of a range, neighbours joined."""
        run_where, run_length = -1, 0
        for cluster, start, length in _pieces(offset_bytes, length_bytes):
            entry = self._table[cluster]
            where = entry + start if entry > ZERO else entry
            if run_length and where == (run_where + run_length if run_where > ZERO else run_where):
                run_length += length
                continue
            if run_length:
                yield run_where, run_length
            run_where, run_length = where, length
        if run_length:
            yield run_where, run_length

    def _old(self, cluster: int, start: int, end: int | None) -> list[memoryview]:
        """What a part of a cluster that is not in the file holds, to go around what is written."""
        length = (CLUSTER_BYTES if end is None else end) - start
        if length <= 0:
            return []
        content = memoryview(bytearray(length))
        if self._table[cluster] == IN_BASE:
            self._read_base(cluster * CLUSTER_BYTES + start, [content])
        return [content]

    def _read_base(self, offset_bytes: int, buffers: list[memoryview]) -> None:
        """Read from the base; behind its end are zeroes."""
        inside, outside = _split(buffers, max(0, self._base.size_bytes - offset_bytes))
        if inside:
            self._base.readv(offset_bytes, inside)
        disk_file.fill_zeroes(outside)

    def _read_file(self, offset_bytes: int, buffers: list[memoryview]) -> None:
        try:
            disk_file.read_fully(self._fd, offset_bytes, buffers)
        except OSError as error:
            raise disk_error(error, self.path, "read") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _pieces(offset_bytes: int, length_bytes: int) -> Iterator[tuple[int, int, int]]:
    """(cluster, start in it, length) of each cluster that a range touches."""
    while length_bytes > 0:
        cluster, start = divmod(offset_bytes, CLUSTER_BYTES)
        length = min(length_bytes, CLUSTER_BYTES - start)
        yield cluster, start, length
        offset_bytes += length
        length_bytes -= length


def _split(buffers: list[memoryview], length_bytes: int) -> tuple[list[memoryview], list[memoryview]]:
    """The first `length_bytes` of `buffers`, and the rest."""
    for position, buffer in enumerate(buffers):
        if length_bytes < len(buffer):
            head = [buffer[:length_bytes]] if length_bytes else []
            return buffers[:position] + head, [buffer[length_bytes:], *buffers[position + 1 :]]
        length_bytes -= len(buffer)
    return buffers, []
