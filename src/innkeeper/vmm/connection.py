# SPDX-License-Identifier: Apache-2.0
"""One client of the control socket: requests, then perhaps a stream. On the machine's I/O loop, lock held."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from innkeeper.api.frames import FrameKind, FrameReader
from innkeeper.api.messages import (
    LineReader,
    Request,
    decode_request,
    encode_error,
    encode_line,
    encode_result,
)
from innkeeper.errors import ConfigError, HostError, InnkeeperError

_READ_BYTES = 65536
OUTPUT_LIMIT_BYTES = 4 << 20
"""More waits for no client that asks much and reads nothing: its connection ends."""
_REQUEST_LIMIT = 256
"""Requests of one client that are not answered yet."""


class Loop(Protocol):
    """What a connection needs of the I/O loop."""

    def add_reader(self, fd: int, ready: Callable[[], None]) -> None: ...

    def remove_reader(self, fd: int) -> None: ...

    def add_writer(self, fd: int, ready: Callable[[], None]) -> None: ...

    def remove_writer(self, fd: int) -> None: ...


class Stream(Protocol):
    """What takes a connection over."""

    def frame(self, kind: FrameKind, payload: bytes) -> None:
        """The client sent a frame. HostError for one that makes no sense."""

    def passed_on(self, size_bytes: int) -> None:
        """So many bytes of what was sent have gone to the client, since the last call."""

    def client_gone(self) -> None:
        """The last call, if the client went before `Connection.finish`."""


Handler = Callable[["Connection", Request], None]


class Connection:
    """`handle` carries out requests; `closed` is told of the end."""

    def __init__(
        self,
        client: socket.socket,
        loop: Loop,
        handle: Handler,
        closed: Callable[[Connection], None],
    ) -> None:
        client.setblocking(False)
        self._socket = client
        self._fd = client.fileno()
        self._loop = loop
        self._handle = handle
        self._closed = closed
        self._lines = LineReader()
        self._frames = FrameReader()
        self._frames_waiting: list[tuple[FrameKind, bytes]] = []
        self._stream: Stream | None = None
        self._output = bytearray()
        self._unanswered = 0
        self._reading = False
        self._writing = False
        self._held = False
        self._finishing = False
        self.is_open = True
        self._read_on()

    # For who answers.

    def answer(self, number: int, result: Mapping[str, Any] | InnkeeperError) -> None:
        """Answer a request; nothing happens if the client is gone."""
        self._unanswered -= 1
        if isinstance(result, InnkeeperError):
            self.send(encode_error(number, result))
        else:
            self.send(encode_result(number, result))
        self._read_on()

    def event(self, message: Mapping[str, Any]) -> None:
        """A line that no request asked for."""
        self.send(encode_line(message))

    def begin_stream(self, stream: Stream) -> None:
        """From now on the connection carries frames, which go to `stream`."""
        if not self.is_open:
            stream.client_gone()
            return
        self._stream = stream
        rest = self._lines.rest()
        if rest:
            self._take_frames(rest)

    def send(self, data: bytes) -> None:
        """Queue bytes for the client. One that reads too little for too long is dropped."""
        if not self.is_open:
            return
        if len(self._output) + len(data) > OUTPUT_LIMIT_BYTES:
            self.close()
            return
        self._output += data
        self._flush()

    @property
    def waiting_bytes(self) -> int:
        """What the client has not read yet."""
        return len(self._output)

    def hold(self) -> None:
        """Read no more of the stream until `go_on`."""
        self._held = True
        self._read_off()

    def go_on(self) -> None:
        """Read on, beginning with the frames that came already."""
        self._held = False
        waiting, self._frames_waiting = self._frames_waiting, []
        self._give(waiting)
        self._read_on()

    def finish(self) -> None:
        """Close when everything is sent; the stream hears no more of it."""
        self._stream = None
        self._finishing = True
        if self.is_open and not self._output:
            self.close()

    def close(self) -> None:
        """Close at once; harmless when repeated."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._reading = self._writing = False  # the number may be another's soon
        self._socket.close()
        self._output.clear()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.client_gone()
        self._closed(self)

    def abandon(self) -> None:
        """In a forked child: let go of the client, who belongs to the parent, without a word."""
        self.is_open = False
        self._socket.close()

    # Inside.

    def _read_on(self) -> None:
        may_read = self.is_open and not self._held and self._unanswered < _REQUEST_LIMIT
        if may_read and not self._reading and not self._finishing:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)

    def _read_off(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif self._stream is not None:
            self._take_frames(data)
        else:
            self._take_lines(data)

    def _take_lines(self, data: bytes) -> None:
        try:
            lines = self._lines.feed(data)
        except ConfigError as error:
            self._refuse(error)
            return
        for position, line in enumerate(lines):
            if not self.is_open or self._finishing:
                return
            if self._stream is not None:
                # A frame may hold newlines: what seemed lines were the stream's first bytes.
                rest = b"".join(other + b"\n" for other in lines[position:]) + self._lines.rest()
                self._take_frames(rest)
                return
            self._take_line(line)
        if self._unanswered >= _REQUEST_LIMIT:
            self._read_off()

    def _take_line(self, line: bytes) -> None:
        try:
            request = decode_request(line)
        except ConfigError as error:
            self._refuse(error)
            return
        self._unanswered += 1
        try:
            self._handle(self, request)
        except InnkeeperError as error:
            self.answer(request.id, error)

    def _refuse(self, error: InnkeeperError) -> None:
        """Say what is wrong, to nobody's request, and close: where the next one begins is not known."""
        self.send(encode_error(0, error))
        self._read_off()
        self.finish()

    def _take_frames(self, data: bytes) -> None:
        try:
            frames = self._frames.feed(data)
        except HostError:
            self.close()
            return
        self._give(frames)

    def _give(self, frames: list[tuple[FrameKind, bytes]]) -> None:
        for position, (kind, payload) in enumerate(frames):
            if self._held:
                self._frames_waiting += frames[position:]
                return
            if self._stream is None:
                return
            try:
                self._stream.frame(kind, payload)
            except InnkeeperError:
                self.close()
                return

    def _flush(self) -> None:
        done = 0
        try:
            while self._output:
                size = self._socket.send(memoryview(self._output)[:_READ_BYTES])
                del self._output[:size]
                done += size
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        wanted = bool(self._output)
        if wanted != self._writing:
            self._writing = wanted
            if wanted:
                self._loop.add_writer(self._fd, self._flush)
            else:
                self._loop.remove_writer(self._fd)
        if done and self._stream is not None:
            self._stream.passed_on(done)
        if self._finishing and not self._output and self.is_open:
            self.close()
