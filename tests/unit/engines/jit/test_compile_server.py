# SPDX-License-Identifier: Apache-2.0
"""The server in the compile worker: requests, senseless ones too, what it compiles, and when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from innkeeper.codegen.region_code import RegionCode
from innkeeper.engines.jit.compile_server import CompileServer, listen
from innkeeper.engines.jit.optimizer import Wanted
from innkeeper.engines.jit.region_cache import RegionCache

VERSION = "v1"
PAGE = bytes(4096)
REGION = RegionCode(b"\xc3" * 16, (), ((0, 0), (64, 8)), 3)
JOIN_TIMEOUT_S = 60


def answers(server: CompileServer, data: bytes) -> bytes:
    """All that the server says to `data` before it hangs up."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs, theirs.makefile("rwb") as stream:
            server.serve(stream)  # type: ignore[arg-type]

    thread = threading.Thread(target=serve)
    thread.start()
    said = b""
    # It may hang up before all is sent or read.
    with ours, ours.makefile("rb") as stream, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        said = stream.read()
    thread.join(JOIN_TIMEOUT_S)
    assert not thread.is_alive()
    return said


def request(entries: object = (0,), wanted: object = "any", page: bytes = PAGE) -> bytes:
    return json.dumps({"entries": entries, "wanted": wanted}).encode() + b"\n" + page


SENSELESS = {
    "no JSON": b"hello\n",
    "no object": b"[]\n",
    "nothing": b"\n",
    "deep": b"[" * 4000 + b"\n" + PAGE,
    "bytes": b"\xff\xfe\n",
    "half a line": b'{"entries": [0]',
    "long": b"x" * 10000,
    "no entries": b"{}\n" + PAGE,
    "odd": request((1,)),
    "negative": request((-2,)),
    "outside": request((4096,)),
    "fraction": request((0.5,)),
    "infinite": request((float("inf"),)),
    "text": request(("0",)),
    "number": request(5),
    "wanted": request(wanted="all"),
    "wanted what": request(wanted=[1]),
    "half a page": request(page=bytes(4095)),
}


@pytest.mark.parametrize("kind", SENSELESS)
def test_senseless_requests_end_the_connection(kind: str, tmp_path: Path) -> None:
    server = CompileServer(RegionCache(tmp_path / "code", VERSION), lambda page, entries: REGION)
    assert answers(server, SENSELESS[kind] if kind == "half a page" else SENSELESS[kind] + request()) == b""
    assert answers(server, request()).endswith(REGION.to_bytes())


def test_what_is_known_is_not_compiled_again(tmp_path: Path) -> None:
    asked: list[tuple[int, ...]] = []

    def compiles(page: bytes, entries: tuple[int, ...]) -> RegionCode:
        asked.append(entries)
        return REGION

    server = CompileServer(RegionCache(tmp_path / "code", VERSION), compiles)
    assert server.region(PAGE, (0,), Wanted.KNOWN) is None
    for wanted in (Wanted.ANY, Wanted.KNOWN, Wanted.ANY, Wanted.ALL_ENTRIES):
        assert server.region(PAGE, (0, 64), wanted) == REGION
    assert asked == [(0, 64)]
    assert server.region(PAGE, (128,), Wanted.ANY) == REGION
    both = server.region(PAGE, (128, 0), Wanted.ALL_ENTRIES)
    assert both == REGION.merged(REGION) == server.region(PAGE, (0,), Wanted.KNOWN)
    assert asked == [(0, 64), (128,)]


def test_it_ends_when_alone(tmp_path: Path) -> None:
    server = CompileServer(RegionCache(tmp_path / "code", VERSION), lambda page, entries: REGION)
    reader, writer = os.pipe()
    thread = threading.Thread(target=listen, args=(tmp_path / "s", server, writer, 0.05))
    thread.start()
    with os.fdopen(reader, "rb") as ready, socket.socket(socket.AF_UNIX) as connected:
        assert ready.read() == b"\n"
        connected.connect(str(tmp_path / "s"))
        with connected.makefile("rwb") as stream:
            for _ in range(2):
                thread.join(0.2)  # longer than it would stay alone
                stream.write(request())
                stream.flush()
                size = json.loads(stream.readline())["bytes"]
                assert stream.read(size) == REGION.to_bytes()
    thread.join(JOIN_TIMEOUT_S)
    assert not thread.is_alive()


def test_the_command_says_when_it_listens(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    arguments = [str(tmp_path / "s"), str(tmp_path / "code"), VERSION, str(writer)]
    module = "innkeeper.engines.jit.compile_server"
    with subprocess.Popen([sys.executable, "-m", module, *arguments], pass_fds=(writer,)) as worker:
        os.close(writer)
        with os.fdopen(reader, "rb") as ready:
            assert ready.read() == b"\n"
        worker.kill()
