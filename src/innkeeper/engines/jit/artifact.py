# SPDX-License-Identifier: Apache-2.0
"""What is built ahead of time, as one file in the user's cache.

The file's name is a digest of everything it comes from (our sources and the host); inside, a digest of its
content comes first. A file that does not match is built anew, never trusted. Where the cache cannot be
written the artifact is built for this process alone, with a warning.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

MAGIC = b"innkeeper-engine-1\n"
OTHERS_KEPT = 4
"""Artifacts of other versions that stay, the most recently used ones: who changes between versions does not
compile at each change."""
LOCK_TIMEOUT_S = 120
"""After that a process compiles for itself: the one that has the lock may be stopped for good."""
_TEMPORARY = ".new-"
_SOURCES = ("ir", "isa", "codegen", "runtime", "engines/jit", "spec")


@dataclass(frozen=True)
class Artifact:
    """Named lists of strings and named bytes."""

    names: dict[str, list[str]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Digest, header and blobs."""
        sizes = {name: len(blob) for name, blob in self.blobs.items()}
        header = json.dumps({"names": self.names, "blobs": sizes}).encode()
        body = len(header).to_bytes(8, "little") + header + b"".join(self.blobs.values())
        return MAGIC + hashlib.sha256(body).digest() + body

    @staticmethod
    def from_bytes(data: bytes) -> Artifact | None:
        """The artifact, or None if the bytes are damaged in any way."""
        start = len(MAGIC) + 32
        body = data[start:]
        if not data.startswith(MAGIC) or hashlib.sha256(body).digest() != data[len(MAGIC) : start]:
            return None
        size = int.from_bytes(body[:8], "little")
        at = 8 + size
        blobs = {}
        try:
            header = json.loads(body[8 : 8 + size])
            for name, length in header["blobs"].items():
                blobs[name] = body[at : at + length]
                at += length
            return Artifact(header["names"], blobs)
        except (ValueError, KeyError, TypeError, AttributeError):  # whole, but not ours
            return None


_PACKAGE = Path(__file__).resolve().parents[2]


def source_digest(host: str, root: Path = _PACKAGE) -> str:
    """Digest of the sources, below `root`, that an artifact is made from, and of the host it is made for."""
    digest = hashlib.sha256(host.encode())
    for folder in _SOURCES:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def cache_folder() -> Path:
    """Where artifacts are kept. A relative XDG_CACHE_HOME is ignored, as for images.

    Source: XDG Base Directory Specification 0.8, "Environment variables".
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path(os.environ.get("HOME") or Path.home()) / ".cache"
    return root / "innkeeper" / "engine"


def obtain(path: Path, make: Callable[[], Artifact], is_current: Callable[[], bool]) -> Artifact:
    """The artifact at `path`; made and kept there if there is none that is whole.

    Of several processes that want it at once one makes it. `is_current` says afterwards whether what was made
    is still what the path's name stands for; else it is not kept. A RuntimeWarning where it cannot be kept.
    """
    found = load(path)
    if found is not None:
        return found
    with _lock(path.parent):
        found = load(path)
        if found is None:
            found = make()
            if is_current():
                _keep(path, found)
    return found


def load(path: Path) -> Artifact | None:
    """The artifact at `path`, which counts as used now, or None if there is none that is whole."""
    try:
        found = Artifact.from_bytes(path.read_bytes())
    except OSError:
        return None
    with suppress(OSError):
        os.utime(path)
    return found


def _lock(folder: Path) -> AbstractContextManager[object]:
    """A lock against other processes; none where the folder or its file system cannot have one."""
    # Most who look for an artifact find it.
    from filelock import FileLock

    lock = FileLock(folder / "build.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return lock.acquire(timeout=LOCK_TIMEOUT_S)
    except (OSError, NotImplementedError):
        return nullcontext()


def _keep(path: Path, artifact: Artifact) -> None:
    try:
        save(path, artifact)
        remove_others(path)
    except OSError as error:
        warnings.warn(
            f"the compiled engine cannot be kept in {path.parent} ({error.strerror}), so that each start"
            " takes some seconds longer: free space there or set XDG_CACHE_HOME",
            RuntimeWarning,
            stacklevel=2,
        )


def save(path: Path, artifact: Artifact) -> None:
    """Write it in one step; a reader never sees half of it. OSError where the cache cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    from tempfile import mkstemp  # takes long to load

    fd, name = mkstemp(dir=path.parent, prefix=_TEMPORARY)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(artifact.to_bytes())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def remove_others(keep: Path) -> None:
    """Drop what would only take space: artifacts that were not used for long, and files left half-written.

    Nobody reads an artifact twice, so that one may go while another process runs with it.
    """
    others = [p for p in keep.parent.glob("*.artifact") if p != keep]
    others.sort(key=_last_used, reverse=True)
    for path in [*others[OTHERS_KEPT:], *keep.parent.glob(f"{_TEMPORARY}*")]:
        path.unlink(missing_ok=True)


def _last_used(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # another process removed it
        return 0
