# SPDX-License-Identifier: Apache-2.0
"""The compile worker: a process of its own that compiles regions for every VM of this user.

LLVM may end the process that uses it, so it has one whose end nobody minds: a VM asks for another. It runs
at low priority, listens on a unix socket, serves each connection in its turn, and ends when nobody has been
connected for a while.

A request is a line of JSON (`entries`, and a `Wanted` as `wanted`), then the page. An answer is a line of
JSON (`bytes`, the size of what follows, or -1 if there is no region), then `RegionCode.to_bytes()`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from operator import index
from pathlib import Path
from typing import BinaryIO, cast

from innkeeper.codegen.region_code import RegionCode
from innkeeper.codegen.region_object import compile_region
from innkeeper.engines.jit.optimizer import Wanted
from innkeeper.engines.jit.region_cache import RegionCache
from innkeeper.spec.riscv import PAGE_BYTES

NICENESS = 15
MERGE_BELOW_BYTES = 256 << 10
"""A page's regions are kept together up to about this size; then it begins with a new one."""
ALONE_S = 60.0
"""How long the worker stays without a connection."""
Compile = Callable[[bytes, tuple[int, ...]], RegionCode | None]


class CompileServer:
    """Compiles with `cache` before and behind it."""

    def __init__(self, cache: RegionCache, compile_region: Compile = compile_region) -> None:
        self._cache = cache
        self._compile = compile_region
        self._lock = threading.Lock()
        """LLVM works on one region at a time anyway; so answers come in order."""

    def region(self, page: bytes, entries: tuple[int, ...], wanted: Wanted) -> RegionCode | None:
        """The region of `page` around `entries`, from the cache or compiled now.

        What is in the cache may have other entries: it is good enough to begin with.
        """
        known = self._cache.load(page)
        if wanted is Wanted.KNOWN or (known is not None and wanted is Wanted.ANY):
            return known
        with self._lock:
            if known is not None:
                entries = tuple(entry for entry in entries if not known.has(entry))
                if not entries:
                    return known
            region = self._compile(page, entries)
            if region is None:
                return known
            if known is not None and len(known.code) < MERGE_BELOW_BYTES:
                region = known.merged(region)
            self._cache.save(page, region)
            return region

    def serve(self, stream: BinaryIO) -> None:
        """Answer requests until the other side closes the connection or says something senseless."""
        while line := stream.readline(4096):
            try:
                request = json.loads(line)
                entries, wanted = tuple(map(index, request["entries"])), Wanted(request["wanted"])
            except (ValueError, KeyError, TypeError, RecursionError):
                return
            page = stream.read(PAGE_BYTES)
            if len(page) != PAGE_BYTES or not all(0 <= e < PAGE_BYTES and e % 2 == 0 for e in entries):
                return
            region = self.region(page, entries, wanted)
            body = region.to_bytes() if region is not None else b""
            stream.write(json.dumps({"bytes": len(body) if region is not None else -1}).encode() + b"\n")
            stream.write(body)
            stream.flush()


def listen(path: Path, server: CompileServer, ready_fd: int, alone_s: float = ALONE_S) -> None:
    """Serve on the socket at `path` until nobody is connected for `alone_s`; a byte on `ready_fd` says that
    it listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listener.bind(str(path))
        listener.listen(64)
        listener.settimeout(alone_s)
        os.write(ready_fd, b"\n")
        os.close(ready_fd)
        threads: list[threading.Thread] = []
        while True:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                threads = [thread for thread in threads if thread.is_alive()]
                if threads:
                    continue
                return
            connection.settimeout(None)
            thread = threading.Thread(target=_serve, args=(server, connection), daemon=True)
            thread.start()
            threads.append(thread)


def _serve(server: CompileServer, connection: socket.socket) -> None:
    with connection, connection.makefile("rwb") as stream, contextlib.suppress(OSError):
        server.serve(cast(BinaryIO, stream))


def main() -> None:
    """`python -m innkeeper.engines.jit.compile_server SOCKET CACHE_FOLDER VERSION READY_FD`"""
    path, folder, version, ready_fd = sys.argv[1:]
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    listen(Path(path), CompileServer(RegionCache(Path(folder), version)), int(ready_fd))


if __name__ == "__main__":
    main()
