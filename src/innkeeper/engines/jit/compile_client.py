# SPDX-License-Identifier: Apache-2.0
"""A VM's side of the compile worker: connects to it, starts it where there is none.

The worker's socket lies in a folder that only this user may enter. Its name holds the engine's version, so
that VMs of different versions have workers of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import sys
from pathlib import Path
from typing import BinaryIO, cast

from innkeeper.codegen.region_code import LIMIT_BYTES, RegionCode
from innkeeper.engines.jit.optimizer import Wanted
from innkeeper.engines.jit.region_cache import RegionCache

CONNECT_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 60.0
MAX_FAILURES = 3
"""So many workers that did not even start, and this VM asks for no more."""


_abandoned: list[CompileClient] = []
"""Kept, so that nothing of them is closed or flushed."""


def runtime_folder() -> Path:
    """The folder for sockets of this user, made if need be. OSError if it is not only the user's."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(base):  # the XDG specification: others are to be ignored
        folder = Path(base) / "innkeeper"
    else:
        from tempfile import gettempdir

        folder = Path(gettempdir()) / f"innkeeper-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder that only this user may enter")
    return folder


class CompileClient:
    """Asks the worker, one region at a time. Regions that are known are read from the cache, beside that and
    by any thread; otherwise it is not for several threads.

    A worker that ends while it compiles costs that region only: the next request starts another.
    """

    def __init__(self, version: str, cache_folder: Path) -> None:
        self.version = version
        self.cache_folder = cache_folder
        self._cache = RegionCache(cache_folder, version)
        self._connection: socket.socket | None = None
        self._stream: BinaryIO | None = None
        self._given_up = False
        self._failures = 0

    def compile(self, page: bytes, entries: tuple[int, ...], wanted: Wanted) -> RegionCode | None:
        """The region, or None if there is none to be had; never raises for what the worker does."""
        if wanted is Wanted.KNOWN:
            return self._cache.load(page)
        if self._given_up:
            return None
        try:
            stream = self._stream or self._connect()
            if self._given_up:  # before there was a connection to shut down
                raise ConnectionError("given up")
            stream.write(json.dumps({"entries": entries, "wanted": wanted.value}).encode() + b"\n" + page)
            stream.flush()
            size = int(json.loads(stream.readline(4096))["bytes"])
            if size < 0:
                return None
            body = stream.read(size) if size <= LIMIT_BYTES else b""
            if len(body) == size:
                return RegionCode.from_bytes(body)
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            pass
        self.close()
        return None

    def _connect(self) -> BinaryIO:
        path = runtime_folder() / f"compile-{self.version}.sock"
        connection = _try(path)
        if connection is None:
            from filelock import FileLock  # takes long to load, and most find the worker

            with FileLock(path.with_suffix(".lock"), timeout=CONNECT_TIMEOUT_S):
                connection = _try(path)
                if connection is None:
                    _start(path, self.cache_folder, self.version)
                    connection = _try(path)
        if connection is None:
            self._failures += 1
            self._given_up = self._given_up or self._failures == MAX_FAILURES
            raise ConnectionError("the compile worker does not answer")
        self._failures = 0
        connection.settimeout(ANSWER_TIMEOUT_S)
        self._connection = connection
        self._stream = cast(BinaryIO, connection.makefile("rwb"))
        return self._stream

    def give_up(self) -> None:
        """Let `compile` return soon, and ask nobody any more. From any thread."""
        self._given_up = True
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """In the child of a fork: let go of the parent's connection without a word to the worker.

        What is buffered must not be sent a second time, and the buffer's lock may be held for ever, so the
        objects stay as they are.
        """
        if self._connection is not None and self._connection.fileno() >= 0:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(null, self._connection.fileno(), inheritable=False)
            os.close(null)
        _abandoned.append(self)

    def close(self) -> None:
        """Hang up; harmless when repeated. The next request connects again."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()
        if self._connection is not None:
            self._connection.close()
        self._stream = self._connection = None


def _try(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        return None
    return connection


def _start(path: Path, cache_folder: Path, version: str) -> None:
    """Start a worker that outlives this process, and wait until it listens or has ended."""
    import subprocess  # takes long to load

    reader, writer = os.pipe()
    arguments = (str(path), str(cache_folder), version, str(writer))
    try:
        subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.compile_server", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writer,),
            start_new_session=True,
            cwd="/",
        )
    finally:
        os.close(writer)
    with os.fdopen(reader, "rb") as ready:
        ready.read(1)
