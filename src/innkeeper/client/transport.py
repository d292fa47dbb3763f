# SPDX-License-Identifier: Apache-2.0
"""Requests over HTTP, synchronous. By the standard library: to import httpx takes five times as long."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from innkeeper.api.decode import decode
from innkeeper.api.models import Problem
from innkeeper.api.problems import error_of
from innkeeper.client.calls import Call
from innkeeper.client.endpoint import Endpoint
from innkeeper.errors import HostError, InnkeeperError

T = TypeVar("T")
TIMEOUT_S = 120.0
_PART_BYTES = 65536


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Transport:
    """Carries out calls at an endpoint, each on a connection of its own. May be used by several threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def send(self, call: Call[T]) -> T:
        """The answer to `call`; raises the problem that it answers with."""
        with self._answer(call) as answer:
            data = answer.read()
        return call.read(None if not data else read_json(data))

    def download(self, call: Call[bytes]) -> Iterator[bytes]:
        """The answer to `call`, in parts. HostError if it breaks off."""
        with self._answer(call, lasting=True) as answer:
            while data := answer.read1(_PART_BYTES):
                yield data

    def upload(self, call: Call[T], parts: Iterable[bytes]) -> T:
        """As `send`, with a body that is sent as it comes."""
        with self._answer(call, body=parts) as answer:
            return call.read(read_json(answer.read()))

    @contextlib.contextmanager
    def _answer(
        self, call: Call[Any], body: Iterable[bytes] | None = None, *, lasting: bool = False
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection()
        headers = dict(self.endpoint.headers)
        sent: Any = body
        if body is None and call.body is not None:
            sent = json.dumps(call.json).encode()
            headers["Content-Type"] = "application/json"
        try:
            try:
                connection.request(call.method, call.target, sent, headers)
            except (BrokenPipeError, ConnectionResetError):
                if body is None:
                    raise  # else it refused what was sent, and may have said why
            answer = connection.getresponse()
            if lasting and connection.sock is not None:
                connection.sock.settimeout(None)
            if answer.status >= 400:
                raise read_problem(answer.status, answer.read(1 << 20))
            yield answer
        except (OSError, http.client.HTTPException) as error:
            raise self.endpoint.unreachable(error) from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        endpoint = self.endpoint
        if endpoint.path is not None:
            return _UnixConnection(str(endpoint.path))
        return http.client.HTTPSConnection(
            endpoint.host, endpoint.port, timeout=TIMEOUT_S, context=endpoint.tls()
        )


def read_problem(status: int, data: bytes) -> InnkeeperError:
    """The error that an answer with a bad status stands for."""
    try:
        return error_of(decode(Problem, json.loads(data)))
    except (ValueError, HostError):
        return HostError(f"the hypervisor answers with status {status}", "check the address")


def read_json(data: bytes) -> Any:
    """The JSON in an answer. HostError if there is none."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise HostError("the hypervisor's answer is no JSON", "use the same version of both") from error
