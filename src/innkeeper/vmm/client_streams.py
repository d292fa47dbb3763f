# SPDX-License-Identifier: Apache-2.0
"""What a connection becomes after `console`, `exec` and `files`: frames of a client, both ways. Lock held."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from innkeeper.api import frames
from innkeeper.api.frames import FrameKind
from innkeeper.errors import GuestError, HostError, InnkeeperError
from innkeeper.guest_agent import protocol as say
from innkeeper.vmm.agent_session import AgentSession
from innkeeper.vmm.agent_wire import FileStatus
from innkeeper.vmm.connection import Connection
from innkeeper.vmm.console_hub import ConsoleHub

CONSOLE_WAITING_BYTES = 1 << 20
"""A client of the console that has more to read yet misses what comes then."""


TIMEOUT_STATUS = 124
"""As that of timeout(1)."""
SIGKILL = 9
_PATIENCE_NS = 5_000_000_000


class Timer(Protocol):
    """What `call_at` returns."""

    def cancel(self) -> None: ...


class TimerLoop(Protocol):
    """What a limit in time needs of the I/O loop."""

    def call_at(self, deadline_ns: int, work: Callable[[], None]) -> Timer: ...


class ConsoleStream:
    """A client at the console. The last one that says how large its window is decides."""

    def __init__(self, connection: Connection, hub: ConsoleHub, resize: Callable[[int, int], None]) -> None:
        self._connection = connection
        self._hub = hub
        self._resize = resize
        self._waiting = b""

    def begin(self, history: bool) -> None:
        """After the answer: what was printed, then what is."""
        self._connection.begin_stream(self)
        self._hub.attach(self, history)

    def frame(self, kind: FrameKind, payload: bytes) -> None:
        """See `connection.Stream`, as for the methods below."""
        if kind is FrameKind.STDIN:
            self._type(payload)
        elif kind is FrameKind.WINDOW:
            self._resize(*frames.decode_window(payload))

    def passed_on(self, size_bytes: int) -> None:
        """The console does not wait for its clients."""

    def client_gone(self) -> None:
        """It sees no more."""
        self._hub.detach(self)

    def console_output(self, data: bytes) -> None:
        """See `ConsoleClient`."""
        if self._connection.waiting_bytes < CONSOLE_WAITING_BYTES:
            self._connection.send(frames.encode_data(FrameKind.STDOUT, data))

    def console_space(self) -> None:
        """See `ConsoleClient`."""
        if self._waiting:
            waiting, self._waiting = self._waiting, b""
            if self._type(waiting):
                self._connection.go_on()

    def _type(self, data: bytes) -> bool:
        taken = self._hub.input(data)
        self._waiting = data[taken:]
        if self._waiting:
            self._connection.hold()
        return not self._waiting


class SessionStream:
    """A client of a command or file. Frames follow the answer to request `number`.

    With `answers_with_file` the answer is the file's status, once it has come; else it is given at once.
    """

    def __init__(self, connection: Connection, number: int, *, answers_with_file: bool = False) -> None:
        self._connection = connection
        self._number = number
        self._answers_with_file = answers_with_file
        self._has_answered = False
        self._session: AgentSession | None = None
        self._waiting = b""
        self._sent: deque[tuple[int, int]] = deque()
        """For each frame of output: bytes of the connection up to its end, and its payload."""
        self._queued_bytes = 0
        self._passed_bytes = 0
        self._timed_out = False
        self._timers: list[Timer] = []

    def begin(self, session: AgentSession) -> None:
        """The agent has been asked."""
        self._session = session
        if not self._answers_with_file:
            self._answer({})

    def limit_time(self, loop: TimerLoop, now_ns: int, timeout_s: float) -> None:
        """Kill the command after `timeout_s` from `now_ns`, the loop's time."""
        deadline_ns = now_ns + int(timeout_s * 1e9)
        self._timers.append(loop.call_at(deadline_ns, self._kill))
        # The guest may not obey.
        self._timers.append(loop.call_at(deadline_ns + _PATIENCE_NS, self._give_up))

    def _kill(self) -> None:
        self._timed_out = True
        if self._session is not None:
            self._session.signal(SIGKILL)

    def _give_up(self) -> None:
        if self._session is not None and not self._session.has_ended:
            self._session.hang_up()
            self.on_end(TIMEOUT_STATUS)

    def _answer(self, result: Mapping[str, Any]) -> None:
        self._has_answered = True
        self._connection.answer(self._number, result)
        self._queued_bytes = self._connection.waiting_bytes
        self._connection.begin_stream(self)

    # From the client.

    def frame(self, kind: FrameKind, payload: bytes) -> None:
        """See `connection.Stream`, as for the methods below."""
        session = self._session
        if session is None:
            return
        if kind is FrameKind.STDIN:
            if payload:
                self._write(payload)
            else:
                session.end_input()
        elif kind is FrameKind.WINDOW:
            session.resize(*frames.decode_window(payload))
        elif kind is FrameKind.SIGNAL:
            session.signal(frames.decode_signal(payload))

    def passed_on(self, size_bytes: int) -> None:
        """Let the agent send more."""
        self._passed_bytes += size_bytes
        taken = 0
        while self._sent and self._sent[0][0] <= self._passed_bytes:
            taken += self._sent.popleft()[1]
        if taken and self._session is not None:
            self._session.taken(taken)

    def client_gone(self) -> None:
        """Nobody listens any more."""
        for timer in self._timers:
            timer.cancel()
        if self._session is not None:
            self._session.hang_up()

    # From the session (`SessionListener`).

    def on_output(self, kind: int, data: bytes) -> None:
        """Standard output or error."""
        if not self._has_answered:
            raise GuestError("the guest's agent says what makes no sense", "restart the VM")
        out = FrameKind.STDERR if kind == say.STDERR else FrameKind.STDOUT
        encoded = frames.encode_data(out, data)
        self._queued_bytes += len(encoded)
        self._sent.append((self._queued_bytes, len(data)))
        self._connection.send(encoded)

    def on_file(self, status: FileStatus) -> None:
        """Answers the request."""
        if not self._has_answered:
            self._answer(asdict(status))

    def on_space(self) -> None:
        """The agent takes input again."""
        waiting, self._waiting = self._waiting, b""
        if not waiting or self._write(waiting):
            self._connection.go_on()

    def on_end(self, result: int | InnkeeperError) -> None:
        """The last frame; the answer, if there was none and it failed."""
        for timer in self._timers:
            timer.cancel()
        if self._timed_out:
            result = TIMEOUT_STATUS
        if not self._has_answered:
            failure = result if isinstance(result, InnkeeperError) else HostError("there is no such file")
            self._connection.answer(self._number, failure)
            return
        if isinstance(result, InnkeeperError):
            self._connection.send(frames.encode_failure(result))
        else:
            self._connection.send(frames.encode_exit(result))
        self._connection.finish()

    def _write(self, data: bytes) -> bool:
        session = self._session
        if session is None:
            return True
        position = 0
        while position < len(data):
            taken = session.write(memoryview(data)[position:])
            position += taken
            if not taken:
                break
        self._waiting = data[position:]
        if self._waiting:
            self._connection.hold()
        return not self._waiting


class FileStatusAnswer:
    """Answers request `number` with what a file of the guest is. Satisfies `SessionListener`."""

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection = connection
        self._number = number
        self._status: FileStatus | None = None

    def on_output(self, kind: int, data: bytes) -> None:
        """Nothing of it is asked for."""

    def on_file(self, status: FileStatus) -> None:
        """What was asked for; the answer comes at the end."""
        self._status = status

    def on_space(self) -> None:
        """Nothing is sent."""

    def on_end(self, result: int | InnkeeperError) -> None:
        """Answer."""
        if isinstance(result, InnkeeperError):
            self._connection.answer(self._number, result)
        elif self._status is None:
            self._connection.answer(self._number, GuestError("the guest's agent says what makes no sense"))
        else:
            self._connection.answer(self._number, asdict(self._status))
