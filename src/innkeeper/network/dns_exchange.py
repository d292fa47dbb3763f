# SPDX-License-Identifier: Apache-2.0
"""One question put to the host's name servers, over UDP or TCP, without waiting.

Spec: RFC 1035 4.2, RFC 5452 for what keeps a forged answer out (a port and an identifier of its own, the
question repeated), RFC 7766 for TCP.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from innkeeper.network.dns_message import Answers, Question, parse_response, with_identifier
from innkeeper.network.event_loop import Deadline, EventLoop
from innkeeper.network.limits import NS_PER_S

_TRY_S = 2
_ROUNDS = 2
_RESPONSE_BYTES_MAX = 65535
_STRAY_MAX = 8
"""Datagrams that are not the answer, before a server is given up: someone is guessing."""

Done = Callable[[bytes | None, Answers | None], None]


class Exchange:
    """Asks one server after the other. `done` is called once: with the response, or with None, None."""

    def __init__(
        self,
        loop: EventLoop,
        servers: tuple[tuple[str, int], ...],
        question: Question,
        over_tcp: bool,
        random_bytes: Callable[[int], bytes],
        done: Done,
    ) -> None:
        self._loop, self._question, self._over_tcp, self._done = loop, question, over_tcp, done
        self._left = list(servers) * _ROUNDS
        self._random_bytes = random_bytes
        self._identifier = 0
        self._socket: socket.socket | None = None
        self._received = bytearray()
        self._unsent = b""
        self._stray = 0
        self._deadline = Deadline(loop, self._next)

    def start(self) -> None:
        """Ask the first server."""
        self._next()

    def close(self) -> None:
        """Give up; `done` is not called."""
        self._drop()
        self._deadline.close()

    def _drop(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _finish(self, response: bytes | None, answers: Answers | None) -> None:
        self.close()
        self._done(response, answers)

    def _next(self) -> None:
        """Ask the next server, if there is one."""
        self._drop()
        while self._left:
            if self._ask(self._left.pop(0)):
                self._deadline.set(self._loop.clock.now_ns() + _TRY_S * NS_PER_S)
                return
        self._finish(None, None)

    def _ask(self, server: tuple[str, int]) -> bool:
        self._identifier = int.from_bytes(self._random_bytes(2), "big")
        message = with_identifier(self._question.message, self._identifier)
        kind = socket.SOCK_STREAM if self._over_tcp else socket.SOCK_DGRAM
        try:
            asked = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, kind)
        except OSError:
            return False
        asked.setblocking(False)
        code = asked.connect_ex(server)
        if code not in (0, errno.EINPROGRESS):
            asked.close()
            return False
        self._socket = asked
        self._received.clear()
        self._stray = 0
        self._loop.add_reader(asked.fileno(), self._readable)
        if self._over_tcp:
            self._unsent = len(message).to_bytes(2, "big") + message
            self._loop.add_writer(asked.fileno(), self._writable)
            return True
        try:
            asked.send(message)
        except OSError:
            self._drop()
            return False
        return True

    def _writable(self) -> None:
        if self._socket is None:
            return
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._next()
            return
        if not self._unsent:
            self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(_RESPONSE_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            self._next()
            return
        if not self._over_tcp:
            self._datagram(data)
            return
        self._received += data
        size_bytes = int.from_bytes(self._received[:2], "big")
        if len(self._received) >= 2 + size_bytes and len(self._received) > 2:
            self._response(bytes(self._received[2 : 2 + size_bytes]))
        elif not data:
            self._next()

    def _datagram(self, data: bytes) -> None:
        answers = parse_response(data, self._identifier, self._question)
        if answers is not None:
            self._finish(data, answers)
            return
        self._stray += 1
        if self._stray > _STRAY_MAX:
            self._next()

    def _response(self, response: bytes) -> None:
        answers = parse_response(response, self._identifier, self._question)
        if answers is None:
            self._next()
        else:
            self._finish(response, answers)
