# SPDX-License-Identifier: Apache-2.0
"""`inn export` and `inn import`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from innkeeper.api.problems import NotFoundError
from innkeeper.cli.failures import say
from innkeeper.cli.parts import Parts
from innkeeper.cli.progress import ProgressDisplay
from innkeeper.cli.sizes import format_size
from innkeeper.errors import ConfigError

STANDARD = Path("-")
_PART_BYTES = 1 << 20


def export(parts: Parts, name: str, path: Path) -> int:
    """Write a VM or a snapshot to `path`, which appears when it is whole."""
    with parts.connect() as client, ProgressDisplay() as progress:
        try:
            source = client.vm(name).export()
        except NotFoundError:
            source = client.snapshot(name).export()
        if path == STANDARD:
            _copy(source, sys.stdout.buffer, progress, name)
            sys.stdout.buffer.flush()
            return 0
        scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with scratch.open("xb") as file:
                size_bytes = _copy(source, file, progress, name)
                os.fsync(file.fileno())
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    say(f"{name} is in {path}, {format_size(size_bytes)}")
    return 0


def _copy(source: Iterator[bytes], file: BinaryIO, progress: ProgressDisplay, name: str) -> int:
    done = 0
    for data in source:
        file.write(data)
        done += len(data)
        progress.report(f"exporting {name}", done, 0)
    return done


def import_file(parts: Parts, path: Path, name: str | None) -> int:
    """Make a VM or a snapshot of a file and print its name."""
    with parts.connect() as client, ProgressDisplay() as progress:
        if path == STANDARD:
            made = client.import_file(_parts(sys.stdin.buffer, progress, 0), name)
        else:
            if not path.is_file():
                raise ConfigError(f"there is no file {path}", "check the name")
            with path.open("rb") as file:
                made = client.import_file(_parts(file, progress, path.stat().st_size), name)
    print(made.name)
    return 0


def _parts(file: BinaryIO, progress: ProgressDisplay, total: int) -> Iterator[bytes]:
    done = 0
    while data := file.read(_PART_BYTES):
        done += len(data)
        progress.report("importing", done, total)
        yield data
