# SPDX-License-Identifier: Apache-2.0
"""The folder of a snapshot: written so that it is whole or not there, and read with its digests checked.

`snapshot.json` is {"format", "version", "sha256", "body"}; the checksum is of the body as canonical JSON, and
is what the snapshot is known by. The body names every other file with its size and SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from innkeeper.devices.saved import refuse, require
from innkeeper.errors import ConfigError, HostError
from innkeeper.host.tree import remove_tree

FORMAT = "innkeeper-snapshot"
VERSION = 1
MANIFEST = "snapshot.json"
MANIFEST_LIMIT_BYTES = 64 << 20
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_PART = re.compile(r"\.(?P<name>.+)\.(?P<pid>[0-9]+)\.part")
_READ_BYTES = 1 << 20


@dataclass
class Manifest:
    """`digest` names the content; `bases` are (folder name, digest) of those whose pages are used."""

    digest: str
    parent: str | None
    bases: list[tuple[str, str]]
    memory: dict[str, int]
    state: dict[str, Any]
    files: dict[str, tuple[int, str]]
    extra: Mapping[str, object] = field(default_factory=dict)


def checked_name(name: object) -> str:
    """`name` if it is a plain name of a folder or file, else ConfigError."""
    require(isinstance(name, str) and _NAME.fullmatch(name) is not None, f"{name!r} is not a file's name")
    return str(name)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` when all is durable; on any exception nothing is left.

    ConfigError if `folder` exists or has an impossible name; HostError when the host cannot write it.
    """
    if not _NAME.fullmatch(folder.name):
        raise ConfigError(f"{folder.name!r} is no name for a snapshot", "use letters, digits, - and _")
    if folder.exists():
        raise ConfigError(f"{folder} exists already", "remove it, or choose another name")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir(mode=0o700)
        yield part
        _sync_folder(part)
        os.rename(part, folder)
        _sync_folder(folder.parent)
    except OSError as error:
        remove_tree(part)
        raise _cannot_write(folder, error) from error
    except BaseException:
        remove_tree(part)
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that are gone have left unfinished, in a snapshot or in the folder of all."""
    for path in folder.glob(".*.part"):
        found = _PART.fullmatch(path.name)
        if found is None or Path(f"/proc/{found['pid']}").exists():
            continue
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)


def write_manifest(part: Path, manifest: Manifest) -> str:
    """Write and sync `snapshot.json`; all other files of `part` are synced and entered. Gives the digest."""
    for path in sorted(part.iterdir()):
        path.chmod(0o600)  # a guest's memory holds its secrets
        manifest.files[checked_name(path.name)] = (path.stat().st_size, _file_digest(path, sync=True))
    body = {
        "parent": manifest.parent,
        "bases": manifest.bases,
        "memory": manifest.memory,
        "state": manifest.state,
        "files": manifest.files,
        "extra": dict(manifest.extra),
    }
    digest = hashlib.sha256(_canonical(body)).hexdigest()
    whole = {"format": FORMAT, "version": VERSION, "sha256": digest, "body": body}
    with open(part / MANIFEST, "xb") as file:
        file.write(json.dumps(whole).encode())
        file.flush()
        os.fsync(file.fileno())
    return digest


def read_manifest(folder: Path) -> Manifest:
    """`snapshot.json`, its checksum verified. ConfigError: there is no snapshot, or it is damaged."""
    try:
        with open(folder / MANIFEST, "rb") as file:
            data = file.read(MANIFEST_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"there is no snapshot in {folder}: {error.strerror}", "check its name") from error
    require(len(data) <= MANIFEST_LIMIT_BYTES, f"{MANIFEST} is too long")
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise refuse(f"{folder / MANIFEST} is not JSON ({error})") from error
    require(
        isinstance(whole, dict) and whole.get("format") == FORMAT, f"{folder / MANIFEST} is something else"
    )
    if whole.get("version") != VERSION:
        raise ConfigError(
            f"the snapshot {folder.name} has format {whole.get('version')}; this knows {VERSION}",
            "use the version of Innkeeper that made it",
        )
    body = whole.get("body")
    require(isinstance(body, dict), f"{MANIFEST} has no body")
    digest = hashlib.sha256(_canonical(body)).hexdigest()
    require(whole.get("sha256") == digest, f"{folder / MANIFEST} has a wrong checksum")
    return _manifest(body, digest)


def _manifest(body: dict[str, Any], digest: str) -> Manifest:
    try:
        return Manifest(
            digest,
            None if body["parent"] is None else checked_name(body["parent"]),
            [(checked_name(name), str(base_digest)) for name, base_digest in body["bases"]],
            {str(name): _count(number) for name, number in body["memory"].items()},
            dict(body["state"]),
            {checked_name(n): (_count(size), str(sha256)) for n, (size, sha256) in body["files"].items()},
            dict(body["extra"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise refuse(f"{MANIFEST} lacks something ({error!r})") from error


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Every file is there and has its size: finds what was cut off, and costs next to nothing."""
    for name, (size_bytes, _) in manifest.files.items():
        try:
            found = (folder / name).stat().st_size
        except OSError as error:
            raise refuse(f"{folder / name} is missing ({error.strerror})") from error
        require(found == size_bytes, f"{folder / name} has {found} bytes, not {size_bytes}")


def read_file(folder: Path, manifest: Manifest, name: str) -> bytes:
    """All of a file, its digest checked. ConfigError if it is damaged or missing."""
    size_bytes, sha256 = manifest.files.get(name, (0, ""))
    require(size_bytes <= MANIFEST_LIMIT_BYTES, f"{name} is too long")
    try:
        with open(folder / name, "rb") as file:
            data = file.read(size_bytes + 1)
    except OSError as error:
        raise refuse(f"{folder / name} cannot be read ({error.strerror})") from error
    require(hashlib.sha256(data).hexdigest() == sha256, f"{folder / name} has a wrong checksum")
    return data


def check_file(folder: Path, manifest: Manifest, name: str) -> None:
    """Read a file of any size and check its digest."""
    try:
        digest = _file_digest(folder / name, sync=False)
    except OSError as error:
        raise refuse(f"{folder / name} cannot be read ({error.strerror})") from error
    require(digest == manifest.files[name][1], f"{folder / name} has a wrong checksum")


def _count(number: object) -> int:
    require(type(number) is int and 0 <= number < 1 << 63, f"{MANIFEST} has a number that cannot be")
    assert isinstance(number, int)
    return number


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def _file_digest(path: Path, *, sync: bool) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
        if sync:
            os.fsync(file.fileno())
    return digest.hexdigest()


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _cannot_write(folder: Path, error: OSError) -> HostError:
    return HostError(
        f"the snapshot {folder.name} cannot be written: {error.strerror or error}",
        f"make room on the disk of {folder.parent}, or check whose it is",
    )
