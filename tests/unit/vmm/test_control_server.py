# SPDX-License-Identifier: Apache-2.0
"""The control socket: requests, streams, events, and clients that are rude."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innkeeper.api.frames import FrameKind, encode_frame
from innkeeper.api.messages import Request, encode_request
from innkeeper.errors import ConfigError, GuestError
from innkeeper.host.clock import HostClock
from innkeeper.machine.io_loop import IoLoop
from innkeeper.vmm.connection import OUTPUT_LIMIT_BYTES, Connection
from innkeeper.vmm.control_server import ControlServer

WAIT_S = 30


class EchoStream:
    """Sends frames back; `hold` makes it wait until `go_on`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.gone = threading.Event()
        self.passed_bytes = 0

    def frame(self, kind: FrameKind, payload: bytes) -> None:
        if kind is FrameKind.SIGNAL:
            raise GuestError("no signals")
        self.connection.send(encode_frame(FrameKind.STDOUT, payload))

    def passed_on(self, size_bytes: int) -> None:
        self.passed_bytes += size_bytes

    def client_gone(self) -> None:
        self.gone.set()


class Server:
    """A control server on a loop of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.errors: list[BaseException] = []
        self.loop = IoLoop(self.lock, HostClock(), self.errors.append)
        self.streams: list[EchoStream] = []
        self.server = ControlServer(path, self.loop)
        with self.lock:
            self.server.start(self.handle)
        self.loop.start()

    def handle(self, connection: Connection, request: Request) -> None:
        if request.method == "echo":
            connection.answer(request.id, dict(request.params))
        elif request.method == "stream":
            self.streams.append(EchoStream(connection))  # first: who has the answer looks for it
            connection.answer(request.id, {})
            connection.begin_stream(self.streams[-1])
        elif request.method == "events":
            connection.answer(request.id, {})
            self.server.subscribe(connection)
        elif request.method == "flood":
            connection.send(bytes(OUTPUT_LIMIT_BYTES))
            connection.send(bytes(OUTPUT_LIMIT_BYTES))
        else:
            raise ConfigError("no such method", "use another")

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(WAIT_S)
        client.connect(os.fspath(self.path))
        return client

    def close(self) -> None:
        with self.lock:
            self.server.close()
        self.loop.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("s") / "vmm.sock")
    yield server
    server.close()
    assert not server.errors
    assert not server.path.exists()


def answers(client: socket.socket, count: int) -> list[dict[str, object]]:
    file = client.makefile("rb")
    return [json.loads(file.readline()) for _ in range(count)]


def test_only_this_user_can_connect(server: Server) -> None:
    assert server.path.stat().st_mode & 0o777 == 0o600


def test_many_requests_at_once(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"".join(encode_request(n, "echo", {"n": n}) for n in range(1000)))
        found = answers(client, 1000)
    assert found == [{"id": n, "result": {"n": n}} for n in range(1000)]


def test_an_error_is_an_answer(server: Server) -> None:
    with server.connect() as client:
        client.sendall(encode_request(1, "dance", {}) + encode_request(2, "echo", {}))
        refused, answered = answers(client, 2)
    assert refused["error"] == {"kind": "config", "message": "no such method", "remedy": "use another"}
    assert answered == {"id": 2, "result": {}}


def test_a_stream_may_begin_in_the_same_piece_as_its_request(server: Server) -> None:
    payload = b"with\nnew\nlines\n"
    with server.connect() as client:
        client.sendall(encode_request(1, "stream", {}) + encode_frame(FrameKind.STDIN, payload))
        file = client.makefile("rb")
        assert json.loads(file.readline()) == {"id": 1, "result": {}}
        assert file.read(5 + len(payload)) == encode_frame(FrameKind.STDOUT, payload)
        stream = server.streams[-1]
        file.close()
    assert stream.gone.wait(WAIT_S)


def test_a_held_stream_goes_on_in_order(server: Server) -> None:
    with server.connect() as client:
        client.sendall(encode_request(1, "stream", {}))
        file = client.makefile("rb")
        file.readline()
        connection = server.streams[-1].connection
        with server.lock:
            connection.hold()
        client.sendall(b"".join(encode_frame(FrameKind.STDIN, bytes([n])) for n in range(50)))
        with server.lock:
            connection.go_on()
        assert [file.read(6)[5] for _ in range(50)] == list(range(50))


def test_a_connection_that_has_ended_holds_up_no_other(server: Server) -> None:
    """The next one may have its descriptor."""
    with server.connect() as client:
        client.sendall(encode_request(1, "stream", {}))
        client.makefile("rb").readline()
        ended = server.streams[-1]
    assert ended.gone.wait(WAIT_S)
    with server.connect() as client:
        client.sendall(encode_request(1, "echo", {"number": 1}))
        assert answers(client, 1) == [{"id": 1, "result": {"number": 1}}]
        with server.lock:
            ended.connection.hold()
        client.sendall(encode_request(2, "echo", {"number": 2}))
        assert answers(client, 1) == [{"id": 2, "result": {"number": 2}}]


@pytest.mark.parametrize(
    "rubbish", [b"\x09\0\0\0\0", b"\0\xff\xff\xff\xff", encode_frame(FrameKind.SIGNAL, b"x")]
)
def test_a_senseless_frame_ends_its_connection(server: Server, rubbish: bytes) -> None:
    with server.connect() as client:
        client.sendall(encode_request(1, "stream", {}))
        file = client.makefile("rb")
        file.readline()
        client.sendall(rubbish)
        assert file.read() == b""
        file.close()
    assert server.streams[-1].gone.wait(WAIT_S)


def test_events_go_to_those_who_listen(server: Server) -> None:
    with server.connect() as one, server.connect() as other:
        one.sendall(encode_request(1, "events", {}))
        other.sendall(encode_request(1, "echo", {}))
        file = one.makefile("rb")
        file.readline()
        answers(other, 1)
        with server.lock:
            server.server.tell({"event": "ready"})
        assert json.loads(file.readline()) == {"event": "ready"}
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)


def test_a_client_that_reads_nothing_is_dropped(server: Server) -> None:
    with server.connect() as client:
        hung_up = select.poll()
        hung_up.register(client, select.POLLRDHUP)
        client.sendall(encode_request(1, "flood", {}))
        assert hung_up.poll(1000 * WAIT_S)
        size = 0
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(1 << 20):
                size += len(data)
        assert size < OUTPUT_LIMIT_BYTES


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.binary(max_size=400) | st.just(b"x" * (2 << 20)) | st.just(b"[" * 200_000 + b"\n"))
def test_rubbish(server: Server, rubbish: bytes) -> None:
    """It ends at most the connection that it came on."""
    with server.connect() as client, contextlib.suppress(OSError):
        client.sendall(rubbish)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    with server.connect() as client:
        client.sendall(encode_request(1, "echo", {"still": "there"}))
        assert answers(client, 1) == [{"id": 1, "result": {"still": "there"}}]
    assert not server.errors
