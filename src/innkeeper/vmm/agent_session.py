# SPDX-License-Identifier: Apache-2.0
"""One command or file under way in the guest, seen from the VMM. Machine lock held throughout."""

from __future__ import annotations

import errno as numbers
import os
from typing import Protocol

from innkeeper.errors import ConfigError, GuestError, InnkeeperError
from innkeeper.guest_agent import protocol as say
from innkeeper.vmm import agent_wire as wire

STDIN_PIECE_BYTES = 32768
_GRANT_FROM_BYTES = 32768
"""So much is taken by the client before the agent hears of it."""
STATUS_NOT_FOUND, STATUS_NOT_RUN = 127, 126
"""As shells have it. Source: POSIX.1-2024, 2.8.2 "Exit Status for Commands"."""


class SessionListener(Protocol):
    """Who wants to know what becomes of it."""

    def on_output(self, kind: int, data: bytes) -> None:
        """STDOUT or STDERR. `AgentSession.taken` has to be called once it is passed on."""

    def on_file(self, status: wire.FileStatus) -> None:
        """What the file is."""

    def on_space(self) -> None:
        """`AgentSession.write` takes bytes again."""

    def on_end(self, result: int | InnkeeperError) -> None:
        """The last call: exit status (128 + signal), or why there is none."""


class AgentOwner(Protocol):
    """What a session needs of the agent."""

    def send_frame(self, data: bytes) -> None:
        """Queue a frame for the guest."""

    def session_ended(self, token: int) -> None:
        """Forget a session."""


class AgentSession:
    """Made by `GuestAgent`; `subject` names what it is about in messages."""

    def __init__(
        self, agent: AgentOwner, token: int, listener: SessionListener, subject: str, window_bytes: int
    ) -> None:
        self._agent = agent
        self._token = token
        self._listener = listener
        self._subject = subject
        self._allowed_bytes = window_bytes
        """What the agent may still send."""
        self._taken_bytes = 0
        self._room_bytes = say.STDIN_WINDOW_BYTES
        self._space_wanted = False
        self.has_ended = False

    # From the client.

    def write(self, data: bytes | memoryview) -> int:
        """Send input; returns how many of its first bytes were taken. `on_space` says when to go on."""
        size = min(len(data), self._room_bytes, STDIN_PIECE_BYTES)
        if size and not self.has_ended:
            self._room_bytes -= size
            self._agent.send_frame(wire.frame(say.STDIN, self._token, bytes(data[:size])))
        self._space_wanted = size < len(data)
        return len(data) if self.has_ended else size

    def end_input(self) -> None:
        """No more input comes."""
        self._send(wire.frame(say.STDIN, self._token))

    def taken(self, size_bytes: int) -> None:
        """So much of the output was passed on."""
        self._taken_bytes += size_bytes
        if self._taken_bytes >= _GRANT_FROM_BYTES:
            self._allowed_bytes += self._taken_bytes
            self._send(wire.number_frame(say.CREDIT, self._token, self._taken_bytes))
            self._taken_bytes = 0

    def signal(self, number: int) -> None:
        """Send a signal to the command's process group."""
        self._send(wire.number_frame(say.SIGNAL, self._token, number))

    def resize(self, columns: int, rows: int) -> None:
        """The client's terminal has another size."""
        self._send(wire.window_frame(self._token, columns, rows))

    def hang_up(self) -> None:
        """The client has gone: so does the session; the command gets SIGHUP."""
        self._send(wire.frame(say.HANG_UP, self._token))
        self._close()

    def _send(self, data: bytes) -> None:
        if not self.has_ended:
            self._agent.send_frame(data)

    # From the agent.

    def take(self, kind: int, payload: bytes) -> None:
        """A frame of the guest. GuestError for one that makes no sense."""
        if kind in (say.STDOUT, say.STDERR):
            if len(payload) > self._allowed_bytes:
                raise GuestError("the guest's agent sends more than it may", "restart the VM")
            self._allowed_bytes -= len(payload)
            self._listener.on_output(kind, payload)
        elif kind == say.CREDIT:
            self._room_bytes = min(self._room_bytes + wire.decode_number(payload), say.STDIN_WINDOW_BYTES)
            if self._space_wanted:
                self._space_wanted = False
                self._listener.on_space()
        elif kind == say.STAT:
            self._listener.on_file(wire.decode_status(payload))
        elif kind == say.EXIT:
            self._end(wire.decode_number(payload) & 0xFF)
        elif kind == say.FAILED:
            self._failed(wire.decode_numbers(payload))

    def fail(self, error: InnkeeperError) -> None:
        """The agent is gone."""
        self._end(error)

    def _failed(self, payload: tuple[int, ...]) -> None:
        if len(payload) < 2 or payload[1] >= len(say.STAGES):
            raise GuestError("the guest's agent says what makes no sense", "restart the VM")
        errno, stage = payload[:2]
        reason = os.strerror(errno) if errno < 4096 else str(errno)
        if stage == say.STAGE_RUN:
            self._listener.on_output(say.STDERR, f"inn: cannot run {self._subject!r}: {reason}\n".encode())
            self._end(STATUS_NOT_FOUND if errno == numbers.ENOENT else STATUS_NOT_RUN)
        elif stage == say.STAGE_START and errno == numbers.EAGAIN:
            self._end(GuestError("too much runs in the guest already", "wait until a command ends"))
        elif stage == say.STAGE_USER:
            self._end(ConfigError("the guest does not know that user", "give a user of its /etc/passwd"))
        else:
            what = say.STAGES[stage]
            subject = f" {self._subject!r}" if stage in (say.STAGE_OPEN, say.STAGE_WRITE) else ""
            self._end(ConfigError(f"the guest could not {what}{subject}: {reason}", "check the path"))

    def _end(self, result: int | InnkeeperError) -> None:
        if not self.has_ended:
            self._close()
            self._listener.on_end(result)

    def _close(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._agent.session_ended(self._token)
