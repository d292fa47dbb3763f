# SPDX-License-Identifier: Apache-2.0
"""Compiled regions on disk, by the content of the page that they were made from.

A file holds the digest of itself and of what it was made from; one that does not match is dropped. A digest
is no signature, and what is here gets executed: so the folder and all in it must be this user's, and nobody
else may write there. Writers put whole files in place, so any number of processes may share the folder. It
is kept below a size: what was not used for longest goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from innkeeper.codegen.region_code import LIMIT_BYTES, RegionCode
from innkeeper.host.private import private_folder, read_private

LIMIT_FOLDER_BYTES = 256 << 20
_SUFFIX = ".region"
_DIGEST_BYTES = 32
_TRIM_EVERY = 256
"""Files written between two looks at the folder's size."""


class RegionCache:
    """Regions made by one version of the engine for one host (`version`), in `folder`.

    Nothing here raises for what the file system does: a cache that cannot be read is empty.
    """

    def __init__(self, folder: Path, version: str, limit_bytes: int = LIMIT_FOLDER_BYTES) -> None:
        self._folder = folder
        self._version = version.encode()
        self._limit_bytes = limit_bytes
        self._written = 0

    def path(self, page: bytes) -> Path:
        """Where the region of a page with this content is."""
        name = self._key(page).hex()
        return self._folder / name[:2] / (name[2:] + _SUFFIX)

    def _key(self, page: bytes) -> bytes:
        return hashlib.sha256(self._version + b"\0" + page).digest()

    def load(self, page: bytes) -> RegionCode | None:
        """The region made from `page`, which counts as used now; None if there is none that is whole."""
        path = self.path(page)
        try:
            private_folder(self._folder)
        except OSError:
            return None
        try:
            data = read_private(path, _DIGEST_BYTES + LIMIT_BYTES)
        except FileNotFoundError:
            return None
        except OSError:
            data = b""
        digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hashlib.sha256(self._key(page) + body).digest() == digest:
            with contextlib.suppress(ValueError):
                region = RegionCode.from_bytes(body)
                with contextlib.suppress(OSError):
                    os.utime(path)
                return region
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def save(self, page: bytes, region: RegionCode) -> None:
        """Keep `region`, in place of an earlier one of the same page."""
        path, body = self.path(page), region.to_bytes()
        with contextlib.suppress(OSError):
            private_folder(self._folder)
            private_folder(path.parent)
            from tempfile import mkstemp  # takes long to load

            fd, name = mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(hashlib.sha256(self._key(page) + body).digest() + body)
                os.replace(name, path)
            except OSError:
                os.unlink(name)
                raise
        self._written += 1
        if self._written % _TRIM_EVERY == 1:
            self.trim()

    def trim(self) -> None:
        """Delete what was not used for longest until the rest is within the limit."""
        found = []
        for path in self._folder.glob("*/*"):  # what a writer left half-written too
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._limit_bytes:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size
