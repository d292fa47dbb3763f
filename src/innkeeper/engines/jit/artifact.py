# SPDX-License-Identifier: Apache-2.0
"""What is built ahead of time, as one file in the user's cache.

The file's name is a digest of everything it comes from (our sources and the host); inside, a digest of its
content comes first. A file that does not match is built anew, never trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from innkeeper.errors import HostError

MAGIC = b"innkeeper-engine-1\n"
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
        header = json.loads(body[8 : 8 + size])
        at = 8 + size
        blobs = {}
        for name, length in header["blobs"].items():
            blobs[name] = body[at : at + length]
            at += length
        return Artifact(header["names"], blobs)


def source_digest(host: str) -> str:
    """Digest of the sources that an artifact is made from, and of the host it is made for."""
    digest = hashlib.sha256(host.encode())
    root = Path(__file__).resolve().parents[2]
    for folder in _SOURCES:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def cache_folder() -> Path:
    """Where artifacts are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "innkeeper" / "engine"


def load(path: Path) -> Artifact | None:
    """The artifact at `path`, or None if there is none that is whole."""
    try:
        return Artifact.from_bytes(path.read_bytes())
    except (OSError, ValueError, KeyError):
        return None


def save(path: Path, artifact: Artifact) -> None:
    """Write it in one step; a reader never sees half of it. HostError where the cache cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(artifact.to_bytes())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise HostError(
            f"cannot write the engine's cache {path.parent}: {error.strerror}",
            "free space there or set XDG_CACHE_HOME",
        ) from error


def remove_others(keep: Path) -> None:
    """Drop artifacts of other versions, which would only take space."""
    for path in keep.parent.glob("*.artifact"):
        if path != keep:
            path.unlink(missing_ok=True)
