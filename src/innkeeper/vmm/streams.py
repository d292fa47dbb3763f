# SPDX-License-Identifier: Apache-2.0
"""Byte streams between the host and a port of the guest, with back-pressure both ways.

Output: the port hands bytes over with the machine's lock held; a thread of the stream passes them on to a
`sink` that may block for as long as it likes. While too much waits, the port is paused and the guest's
writers block. Input: bytes are read on the machine's I/O thread only while the port takes them.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

PAUSE_ABOVE_BYTES = 1 << 20
RESUME_BELOW_BYTES = 256 << 10
DROP_ABOVE_BYTES = 4 << 20
_READ_BYTES = 65536

Sink = Callable[[bytes], None]


class OutputPort(Protocol):
    """What an output stream needs of its port."""

    def pause_output(self, paused: bool) -> None:
        """While paused the guest's writers block. Machine lock held."""


class OutputStream:
    """Passes what the guest writes on to `sink`, in order, on a thread of its own.

    `lock` is the machine's. If the sink raises, the rest is dropped and `on_error` is called once.
    """

    def __init__(
        self,
        sink: Sink,
        lock: threading.RLock,
        on_error: Callable[[BaseException], None],
        port: OutputPort | None = None,
    ) -> None:
        self._sink = sink
        self._lock = lock
        self._on_error = on_error
        self._port = port
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._paused = False
        self._may_pause = port is not None
        self._ended = False
        self._failed = False
        self._thread = threading.Thread(target=self._main, name="output", daemon=True)
        self._thread.start()

    def push(self, data: bytes) -> None:
        """Take what the guest wrote. Machine lock held."""
        with self._changed:
            if self._failed or self._ended:
                return
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            pause = self._may_pause and not self._paused and self._waiting_bytes > PAUSE_ABOVE_BYTES
            self._paused |= pause
            self._changed.notify()
        if pause and self._port is not None:
            self._port.pause_output(True)

    def push_lossy(self, data: bytes) -> None:
        """As `push`, for a source that cannot be paused: dropped while far too much waits."""
        if self._waiting_bytes <= DROP_ABOVE_BYTES:
            self.push(data)

    def drain(self) -> None:
        """From now on take whatever the guest has handed over, which its queue bounds. Machine lock held."""
        with self._changed:
            self._may_pause = False
            was_paused, self._paused = self._paused, False
        if was_paused and self._port is not None:
            self._port.pause_output(False)

    def finish(self, timeout_s: float | None = None) -> bool:
        """Wait until the sink has everything, then end the thread; False if the time did not suffice.

        Not to be called with the machine's lock held.
        """
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _main(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._ended:
                    self._changed.wait()
                if not self._waiting:
                    return
                data = b"".join(self._waiting)
                self._waiting.clear()
            try:
                self._sink(data)
            except BaseException as error:
                self._fail(error)
                return
            self._taken(len(data))

    def _taken(self, size_bytes: int) -> None:
        with self._changed:
            self._waiting_bytes -= size_bytes
            resume = self._paused and self._waiting_bytes < RESUME_BELOW_BYTES
        if resume and self._port is not None:
            # Lock order: the machine's before the stream's, as in push.
            with self._lock:
                with self._changed:
                    resume, self._paused = self._paused, False
                if resume:
                    self._port.pause_output(False)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failed = True
            self._waiting.clear()
        self._on_error(error)
        # Nobody reads any more: the guest must not block on it until it is stopped.
        with self._lock:
            self.drain()


class InputTarget(Protocol):
    """Where input goes; `receive` takes a part and whoever made the stream calls `resume` on new room."""

    def receive(self, data: bytes) -> int:
        """How many of the first bytes were taken. Machine lock held."""


class ReaderLoop(Protocol):
    """What an input stream needs of the machine's I/O thread. Lock held."""

    def add_reader(self, fd: int, ready: Callable[[], None]) -> None:
        """Call `ready` while `fd` is readable."""

    def remove_reader(self, fd: int) -> None:
        """Call it no longer."""


class InputStream:
    """Feeds `receive` from the descriptor `source`, or from bytes. All methods: machine lock held.

    `receive(data)` says how many bytes were taken; when it took less, `resume` has to be called once there is
    room. `at_end` is called after the last byte was taken. `translate` changes what was read from the
    descriptor, which is not closed.
    """

    def __init__(
        self,
        source: int | bytes,
        receive: Callable[[bytes], int],
        loop: ReaderLoop,
        at_end: Callable[[], None],
        translate: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._fd = source if isinstance(source, int) else None
        self._rest = memoryview(source if isinstance(source, bytes) else b"")
        self._receive = receive
        self._loop = loop
        self._at_end = at_end
        self._translate = translate
        self._source_ended = self._fd is None
        self._ended = False
        self._reading = False
        self._started = False

    def start(self) -> None:
        """Begin to feed; harmless when repeated."""
        if not self._started:
            self._started = True
            self.resume()

    def resume(self) -> None:
        """Go on: there may be room again."""
        if self._ended or not self._started:
            return
        if self._rest:
            self._rest = self._rest[self._receive(bytes(self._rest[:_READ_BYTES])) :]
            while self._rest and self._source_ended:
                taken = self._receive(bytes(self._rest[:_READ_BYTES]))
                self._rest = self._rest[taken:]
                if not taken:
                    break
        self._set_reading(not self._rest and not self._source_ended)
        if self._source_ended and not self._rest:
            self._ended = True
            self._at_end()

    def stop(self) -> None:
        """Feed no more; `at_end` is not called."""
        self._ended = True
        self._set_reading(False)

    def _set_reading(self, wanted: bool) -> None:
        if self._fd is None or wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._loop.add_reader(self._fd, self._ready)
        else:
            self._loop.remove_reader(self._fd)

    def _ready(self) -> None:
        assert self._fd is not None
        data = b""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: the terminal is gone
            pass
        if data:
            self._rest = memoryview(self._translate(data) if self._translate else data)
        else:
            self._source_ended = True
        self.resume()


def write_all(fd: int) -> Sink:
    """A sink that writes to `fd`, waiting as long as its reader does; also when it is non-blocking."""
    import select

    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(fd, rest) :]
                continue
            select.select([], [fd], [])

    return write
