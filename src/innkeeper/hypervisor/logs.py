# SPDX-License-Identifier: Apache-2.0
"""Reading files that grow, may be cut, or be begun anew meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

_PART_BYTES = 65536
_LOOK_S = 0.2


async def tail(path: Path, size_bytes: int) -> AsyncIterator[bytes]:
    """The last `size_bytes` of a file, in parts; nothing if there is no file."""
    position, _ = await asyncio.to_thread(_place, path)
    start = max(0, position - size_bytes)
    while start < position:
        data = await asyncio.to_thread(_read, path, start, min(_PART_BYTES, position - start))
        if not data:
            return
        start += len(data)
        yield data


async def follow(path: Path, size_bytes: int, goes_on: Callable[[], bool]) -> AsyncIterator[bytes]:
    """As `tail`, and then what is added until `goes_on` says no."""
    position, file = await asyncio.to_thread(_place, path)
    position = max(0, position - size_bytes)
    last = False
    while True:
        end, now = await asyncio.to_thread(_place, path)
        if end < position or now != file:
            position, file = 0, now
        while data := await asyncio.to_thread(_read, path, position, _PART_BYTES):
            position += len(data)
            yield data
        if last:
            return
        last = not goes_on()
        if not last:
            await asyncio.sleep(_LOOK_S)


def _place(path: Path) -> tuple[int, int]:
    """Length and inode; 0 if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_ino


def _read(path: Path, start: int, size_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size_bytes)
    except OSError:
        return b""
