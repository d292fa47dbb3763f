# SPDX-License-Identifier: Apache-2.0
"""The file that `inn export` writes: a tar archive, compressed by zstd.

    innkeeper.json          what it is: format, version, kind, settings, snapshots with the oldest first
    vm/root.raw             the root disk of a VM, if it has one of its own
    snapshots/ID/FILE       the files of a snapshot and of those that it is based on
    checksums.json          size and SHA-256 of every file before it; without it the archive is cut off

It is read as a hostile one: names are compared with these forms, only plain files are taken, nothing appears
anywhere before the checksums have been seen. A disk is always raw in it: an overlay names a file of its host,
and could name any.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from innkeeper.errors import ConfigError, HostError

FORMAT, VERSION = "innkeeper-export", 1
MANIFEST, CHECKSUMS = "innkeeper.json", "checksums.json"
ROOT_DISK = "vm/root.raw"
FILES_MAX = 4096
MANIFEST_LIMIT_BYTES = 4 << 20
FILE_LIMIT_BYTES = 2 << 40
_NAME = re.compile(r"vm/root\.raw|snapshots/[0-9a-f]{12}/[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PART_BYTES = 1 << 20
_HOLE_BYTES = 65536
_LEVEL = 3


def write_archive(manifest: dict[str, Any], files: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """The archive of `files` (name in it, where they are), in parts. HostError if one cannot be read."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
    checksums: dict[str, Any] = {}
    for part in _members(manifest, files, checksums):
        if data := compressor.compress(part):
            yield data
    yield compressor.flush()


def _members(
    manifest: dict[str, Any], files: Iterable[tuple[str, Path]], checksums: dict[str, Any]
) -> Iterator[bytes]:
    head = {"format": FORMAT, "version": VERSION, **manifest}
    yield from _small_member(MANIFEST, head)
    for name, path in files:
        try:
            with path.open("rb") as file:
                yield from _member(name, file, os.fstat(file.fileno()).st_size, checksums)
        except OSError as error:
            raise HostError(f"cannot read {path}: {error.strerror}", "check the host's disk") from error
    yield from _small_member(CHECKSUMS, {"files": checksums})
    yield bytes(2 * tarfile.BLOCKSIZE)


def _member(name: str, file: BinaryIO, size_bytes: int, checksums: dict[str, Any]) -> Iterator[bytes]:
    yield _header(name, size_bytes)
    digest = hashlib.sha256()
    left = size_bytes
    while left:
        data = file.read(min(_PART_BYTES, left))
        if not data:
            raise HostError(f"{name} became shorter while it was exported", "try again")
        digest.update(data)
        left -= len(data)
        yield data
    yield bytes(-size_bytes % tarfile.BLOCKSIZE)
    checksums[name] = {"bytes": size_bytes, "sha256": digest.hexdigest()}


def _small_member(name: str, content: dict[str, Any]) -> Iterator[bytes]:
    data = json.dumps(content, indent=1).encode()
    yield _header(name, len(data)) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def _header(name: str, size_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    info.mode = 0o600
    return info.tobuf(tarfile.PAX_FORMAT)


def read_archive(path: Path, folder: Path) -> dict[str, Any]:
    """Unpack the archive `path` into `folder`, which is empty; returns its manifest.

    ConfigError, with the reason, for an archive that is cut off, damaged or not ours; HostError if the host
    has no room. What is in `folder` is then to be thrown away.
    """
    try:
        with (
            path.open("rb") as raw,
            zstandard.ZstdDecompressor().stream_reader(raw) as plain,
            tarfile.open(fileobj=plain, mode="r|") as archive,
        ):
            return _read_members(archive, folder)
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise _damaged(str(error)) from error
    except OSError as error:
        raise HostError(f"cannot import: {error.strerror or error}", "free some space") from error


def _read_members(archive: tarfile.TarFile, folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] | None = None
    found: dict[str, Any] = {}
    for info in archive:
        file = archive.extractfile(info) if info.isreg() and not info.issparse() else None
        if file is None:
            raise _damaged(f"{info.name[:100]!r} is no plain file")
        if manifest is None:
            manifest = _read_manifest(info, file)
        elif info.name == CHECKSUMS:
            if _read_json(info, file).get("files") != found:
                raise _damaged("its checksums do not agree with what is in it")
            return manifest
        else:
            if not _NAME.fullmatch(info.name) or info.name in found or len(found) >= FILES_MAX:
                raise _damaged(f"{info.name[:100]!r} does not belong into it")
            found[info.name] = _unpack(info, file, folder / info.name)
    raise _damaged("it is cut off")


def _read_manifest(info: tarfile.TarInfo, file: Any) -> dict[str, Any]:
    manifest = _read_json(info, file) if info.name == MANIFEST else {}
    if manifest.get("format") != FORMAT:
        raise ConfigError("the file is no export of Innkeeper", "give one that inn export has written")
    if manifest.get("version") != VERSION:
        raise ConfigError(
            f"the export has version {manifest.get('version')!r}; this knows {VERSION}",
            "use the version of Innkeeper that made it, or a later one",
        )
    return manifest


def _read_json(info: tarfile.TarInfo, file: Any) -> dict[str, Any]:
    if info.size > MANIFEST_LIMIT_BYTES:
        raise _damaged(f"{info.name} is too large")
    try:
        data = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise _damaged(f"{info.name} is no JSON") from error
    if not isinstance(data, dict):
        raise _damaged(f"{info.name} is no object")
    return data


def _unpack(info: tarfile.TarInfo, file: Any, target: Path) -> dict[str, Any]:
    """Write a member to `target`, with holes where there are zeroes; gives its size and digest."""
    if not 0 <= info.size <= FILE_LIMIT_BYTES:
        raise _damaged(f"{info.name} is too large")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb", buffering=0) as output:
        position = 0
        while data := file.read(_PART_BYTES):
            digest.update(data)
            for start in range(0, len(data), _HOLE_BYTES):
                block = data[start : start + _HOLE_BYTES]
                if block.count(0) != len(block):
                    _write_at(output.fileno(), block, position + start)
            position += len(data)
        if position != info.size:
            raise _damaged(f"{info.name} is cut off")
        os.ftruncate(output.fileno(), position)
    return {"bytes": position, "sha256": digest.hexdigest()}


def _write_at(descriptor: int, data: bytes, offset_bytes: int) -> None:
    rest = memoryview(data)
    while rest:
        count = os.pwrite(descriptor, rest, offset_bytes)
        rest, offset_bytes = rest[count:], offset_bytes + count


def _damaged(reason: str) -> ConfigError:
    return ConfigError(f"the export is damaged: {reason}", "copy it again, or export it again")
