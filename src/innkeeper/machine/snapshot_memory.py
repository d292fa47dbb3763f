# SPDX-License-Identifier: Apache-2.0
"""RAM to a snapshot's files and back: what is stored anew, what bases have, and the sparse copy to map.

The sparse copy, `memory.raw`, is made from the checked form once and trusted later only if nobody can have
changed it: a file of this user that nobody else may write, known by its inode, size and times.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from innkeeper.devices.saved import require
from innkeeper.errors import HostError
from innkeeper.host.disk_file import write_fully
from innkeeper.host.memory import GuestMemory
from innkeeper.host.private import is_private
from innkeeper.machine.snapshot_folder import (
    Manifest,
    check_sizes,
    read_file,
    read_manifest,
    remove_leftovers,
)
from innkeeper.machine.snapshot_pages import (
    CHUNK_PAGES,
    SOURCE_LIMIT,
    PackReader,
    PackWriter,
    PageIndex,
    digest_of,
)
from innkeeper.spec.board import PAGE_BYTES

INDEX, PACK, RAW, RAW_RECORD = "memory.index", "memory.pack", "memory.raw", "memory.raw.json"
_ZEROES = bytes(PAGE_BYTES)


@dataclass
class Source:
    """A snapshot whose pages can be read: its folder, manifest and index."""

    folder: Path
    manifest: Manifest
    index: PageIndex


def read_source(folder: Path, manifest: Manifest | None = None) -> Source:
    """ConfigError if the snapshot is damaged."""
    manifest = manifest or read_manifest(folder)
    check_sizes(folder, manifest)
    memory = manifest.memory
    require(memory.keys() == {"pages", "contents", "chunks"}, "the description of memory")
    data = read_file(folder, manifest, INDEX)
    limit = 1 << 40
    require(all(number < limit // PAGE_BYTES for number in memory.values()), "memory is too large")
    index = PageIndex.unpack(data, memory["pages"], memory["contents"], memory["chunks"])
    require(max(index.sources, default=0) <= len(manifest.bases), "a page comes from an unknown snapshot")
    return Source(folder, manifest, index)


def read_chain(source: Source) -> list[Source]:
    """The snapshot itself and its bases, whose digests are checked. ConfigError if one is not as it was."""
    chain = [source]
    for name, digest in source.manifest.bases:
        base = read_source(source.folder.with_name(name))
        require(base.manifest.digest == digest, f"the base {name} is not what it was")
        chain.append(base)
    return chain


def write_memory(memory: GuestMemory, part: Path, parent: list[Source]) -> dict[str, int]:
    """Write the index and the pack of `memory` into `part`; `parent` is the chain of bases, parent first.

    Gives the description of memory for the manifest.
    """
    known = _known_contents(parent)
    page_count = memory.size_bytes // PAGE_BYTES
    with open(part / PACK, "xb") as file:
        writer = PackWriter(file, page_count, known)
        origin = _origin(memory, parent)
        _put_pages(memory, writer, origin)
        index = writer.finish()
    (part / INDEX).write_bytes(index.pack())
    return {"pages": page_count, "contents": len(index.digests), "chunks": len(index.chunk_bytes)}


def _known_contents(parent: list[Source]) -> dict[bytes, tuple[int, int]]:
    """What the bases hold: (which base, from 1 on, place in its pack)."""
    known: dict[bytes, tuple[int, int]] = {}
    for number, base in enumerate(parent, 1):
        index = base.index
        for source, place, digest in zip(index.sources, index.places, index.digests, strict=True):
            if source == 0:
                known[digest] = (number, place)
    return known


def _origin(memory: GuestMemory, parent: list[Source]) -> PageIndex | None:
    """The index of the base that `memory` is mapped from, so that untouched pages need not be read."""
    for base in parent:
        if base.manifest.digest == memory.mapped_from:
            return base.index
    return None


def _put_pages(memory: GuestMemory, writer: PackWriter, origin: PageIndex | None) -> None:
    everything = memory.mapped_from is not None and origin is None
    runs = [range(len(writer.index.pages))] if everything else list(memory.changed_pages())
    if origin is not None:
        changed = bytearray(len(writer.index.pages))
        for run in runs:
            changed[run.start : run.stop] = b"\1" * len(run)
        for number, content in enumerate(origin.pages):
            if content and not changed[number]:
                writer.put_known(number, origin.digests[content - 1])
    buffer, put = memory.buffer, writer.put
    for run in runs:
        for number in run:
            at = number * PAGE_BYTES
            page = bytes(buffer[at : at + PAGE_BYTES])
            if page != _ZEROES:
                put(number, page)


def map_memory(memory: GuestMemory, folder: Path, manifest: Manifest) -> None:
    """Map the snapshot's RAM privately into `memory`; the sparse copy is made if there is none to trust."""
    require(manifest.memory.get("pages") == memory.size_bytes // PAGE_BYTES, "memory has another size")
    fd = _trusted_raw(folder, manifest)
    if fd is None:
        fd = _make_raw(read_source(folder, manifest))
    try:
        memory.map_file(fd, manifest.digest)
    finally:
        os.close(fd)


def ensure_raw(folder: Path, manifest: Manifest) -> None:
    """Make the sparse copy if there is none to trust. ConfigError: damaged. HostError: no room for it."""
    fd = _trusted_raw(folder, manifest)
    os.close(_make_raw(read_source(folder, manifest)) if fd is None else fd)


def _trusted_raw(folder: Path, manifest: Manifest) -> int | None:
    """A descriptor of the sparse copy if it is the one that was made from this snapshot and nobody else's."""
    try:
        said = json.loads((folder / RAW_RECORD).read_bytes())
        fd = os.open(folder / RAW, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError, RecursionError):
        return None
    status = os.fstat(fd)
    if is_private(status) and said == _raw_record(status, manifest):
        return fd
    os.close(fd)
    return None


def _raw_record(status: os.stat_result, manifest: Manifest) -> dict[str, object]:
    return {
        "snapshot": manifest.digest,
        "device": status.st_dev,
        "inode": status.st_ino,
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "changed_ns": status.st_ctime_ns,
    }


def _make_raw(source: Source) -> int:
    """Make the sparse copy, every chunk checked, and the record by which it is trusted; its descriptor."""
    folder = source.folder
    part = folder / f".{RAW}.{os.getpid()}.part"
    remove_leftovers(folder)
    try:
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, len(source.index.pages) * PAGE_BYTES)
            for at, data in pages_of(source):
                write_fully(fd, at, [memoryview(data)])
            # Else a power cut could leave a record of something that never came to the disk.
            os.fsync(fd)
            os.rename(part, folder / RAW)
            _write_record(folder, json.dumps(_raw_record(os.fstat(fd), source.manifest)).encode())
        except BaseException:
            os.close(fd)
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise HostError(
            f"the memory of snapshot {folder.name} cannot be unpacked: {error.strerror}",
            f"make room on the disk of {folder}",
        ) from error
    return fd


def _write_record(folder: Path, record: bytes) -> None:
    part = folder / f".{RAW_RECORD}.{os.getpid()}.part"
    part.write_bytes(record)
    os.rename(part, folder / RAW_RECORD)


def pages_of(source: Source) -> Iterator[tuple[int, bytes]]:
    """All that is not zero as (offset in RAM, data); read pack by pack, each chunk once and checked."""
    uses = _uses(source.index)
    for number, base in enumerate(read_chain(source)):
        chunks = uses.get(number, {})
        with open(base.folder / PACK, "rb") as file:
            for chunk, data in PackReader(file, base.index).chunks(set(chunks)):
                yield from _runs(sorted(chunks.pop(chunk)), data)
        require(not chunks, "memory has pages that are in no chunk")


def _uses(index: PageIndex) -> dict[int, dict[int, list[tuple[int, int]]]]:
    """By source and chunk: (page of RAM, page in the chunk)."""
    uses: dict[int, dict[int, list[tuple[int, int]]]] = {}
    sources, places = index.sources, index.places
    for number, content in enumerate(index.pages):
        if content:
            place = places[content - 1]
            by_chunk = uses.setdefault(sources[content - 1], {})
            by_chunk.setdefault(place // CHUNK_PAGES, []).append((number, place % CHUNK_PAGES))
    return uses


def _runs(uses: list[tuple[int, int]], data: bytes) -> Iterator[tuple[int, bytes]]:
    """Neighbours both in RAM and in the chunk are written at once."""
    start = 0
    for i in range(1, len(uses) + 1):
        if i < len(uses) and (uses[i][0] - uses[start][0], uses[i][1] - uses[start][1]) == (i - start,) * 2:
            continue
        first, count = uses[start], i - start
        piece = data[first[1] * PAGE_BYTES : (first[1] + count) * PAGE_BYTES]
        require(len(piece) == count * PAGE_BYTES, "memory has pages behind the end of a chunk")
        yield first[0] * PAGE_BYTES, piece
        start = i


def bases_for(parent: list[Source]) -> list[Source]:
    """The bases that a child of this chain uses: none where the chain has become too long to follow."""
    return parent if len(parent) <= SOURCE_LIMIT else []


def check_pages(source: Source) -> None:
    """Read every page through its chunk and compare it with its own digest. ConfigError for a difference."""
    index = source.index
    for at, data in pages_of(source):
        for i in range(0, len(data), PAGE_BYTES):
            number = (at + i) // PAGE_BYTES
            digest = index.digests[index.pages[number] - 1]
            require(digest_of(data[i : i + PAGE_BYTES]) == digest, f"page {number} of memory is another")
