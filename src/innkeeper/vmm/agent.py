# SPDX-License-Identifier: Apache-2.0
"""The guest's agent, seen from the VMM: commands, files, identity and the clean end of a running guest.

Everything here is used with the machine's lock held. Flow control keeps what waits bounded in both
directions, whatever the guest and the clients do.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Protocol

from innkeeper.api.vmm_protocol import ExecParameters
from innkeeper.errors import ConfigError, GuestError, HostError, InnkeeperError
from innkeeper.guest_agent import protocol as say
from innkeeper.vmm import agent_wire as wire
from innkeeper.vmm.agent_session import AgentSession, SessionListener

OUTPUT_WINDOW_BYTES = 256 << 10
"""So much of a command's output may wait in the VMM for its client."""
_WAITING_LIMIT = 1024
"""Requests without a session that the agent has not answered."""
_TOKEN_LIMIT = 1 << 31
Answer = Callable[[tuple[int, ...] | InnkeeperError], None]


class AgentPort(Protocol):
    """What the agent needs of its port of the console."""

    on_output: Callable[[bytes], None]
    on_open: Callable[[bool], None]
    on_space: Callable[[], None]

    def receive_whole(self, data: bytes) -> bool:
        """Take all of `data` or nothing."""

    def set_open(self, is_open: bool) -> None:
        """Open the host's end."""

    def forget_input(self) -> None:
        """Drop what the guest has not read."""


class GuestAgent:
    """`identity()` says who the guest is to be, each time that a conversation begins.

    `on_ready(True)` is called when the agent has answered and taken its identity, `on_ready(False)` when it
    has gone; `on_trouble(message)` when the guest says what makes no sense.
    """

    def __init__(
        self,
        port: AgentPort,
        identity: Callable[[], wire.Identity],
        on_ready: Callable[[bool], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._port = port
        self._identity = identity
        self._on_ready = on_ready
        self._on_trouble = on_trouble
        self._reader = wire.AgentReader()
        self._waiting: deque[bytes] = deque()
        self._pumping = False
        self._sessions: dict[int, AgentSession] = {}
        self._answers: dict[int, Answer] = {}
        self._last_token = 0
        self.is_ready = False
        self.version = 0
        """What the agent says of itself, 0 until it does."""
        port.on_output = self._receive
        port.on_open = self._opened
        port.on_space = self._pump
        port.set_open(True)

    # What the VMM asks for.

    def begin(self) -> None:
        """Begin a conversation: after a start of the agent, a fork, or a restore. What was under way ends."""
        self._end_all(GuestError("the guest's agent has started anew", "try again"))
        self._waiting.clear()
        nonce = os.urandom(say.NONCE_BYTES)
        self._reader.begin(nonce)
        self._send(wire.frame(say.RESET, 0, nonce))

    def start_command(self, parameters: ExecParameters, listener: SessionListener) -> AgentSession:
        """Run a command. GuestError if the agent does not answer or has too much to do."""
        return self._start(
            lambda token: wire.exec_frame(token, parameters, OUTPUT_WINDOW_BYTES),
            listener,
            parameters.argv[0],
        )

    def read_file(self, path: str, listener: SessionListener) -> AgentSession:
        """Read a file: its status, its bytes as standard output, its end."""
        return self._start(lambda token: wire.read_frame(token, path, OUTPUT_WINDOW_BYTES), listener, path)

    def write_file(
        self, path: str, permissions: int, modified_ns: int | None, listener: SessionListener
    ) -> AgentSession:
        """Write a file: its bytes as standard input; it ends when all is written."""
        return self._start(
            lambda token: wire.write_frame(token, path, permissions, modified_ns), listener, path
        )

    def file_status(self, path: str, listener: SessionListener) -> AgentSession:
        """Look at a file; a symbolic link is not followed."""
        return self._start(lambda token: wire.status_frame(token, path), listener, path)

    def set_identity(self, identity: wire.Identity, answer: Answer) -> None:
        """Make the guest be somebody; `answer` gets an errno for each of `IDENTITY_STEPS`."""
        self._ask(lambda token: wire.identity_frame(token, identity), answer)

    def power_off(self, answer: Answer) -> None:
        """Ask the guest to power off cleanly; `answer` gets an errno, 0 if it has begun."""
        self._require_ready()
        self._ask(lambda token: wire.frame(say.POWER_OFF, token), answer)

    def reboot(self, answer: Answer) -> None:
        """Ask the guest to start again cleanly."""
        self._require_ready()
        self._ask(lambda token: wire.frame(say.REBOOT, token), answer)

    def ping(self, answer: Answer) -> None:
        """`answer` is called as soon as the agent has come to it."""
        self._require_ready()
        self._ask(lambda token: wire.frame(say.PING, token), answer)

    def close(self, error: InnkeeperError) -> None:
        """The machine has ended: so has everything under way."""
        self._end_all(error)

    # For sessions.

    def send_frame(self, data: bytes) -> None:
        """Queue a frame for the guest."""
        self._send(data)

    def session_ended(self, token: int) -> None:
        """Forget a session."""
        self._sessions.pop(token, None)

    # Inside.

    def _require_ready(self) -> None:
        if not self.is_ready:
            raise GuestError("the guest's agent does not answer yet", "wait until the VM is ready: inn wait")

    def _next_token(self) -> int:
        self._last_token = self._last_token % (_TOKEN_LIMIT - 1) + 1
        return self._last_token

    def _start(self, make: Callable[[int], bytes], listener: SessionListener, subject: str) -> AgentSession:
        self._require_ready()
        if len(self._sessions) >= say.SESSION_LIMIT:
            raise GuestError(f"{say.SESSION_LIMIT} commands run in the guest already", "wait until one ends")
        token = self._next_token()
        data = make(token)
        session = self._sessions[token] = AgentSession(self, token, listener, subject, OUTPUT_WINDOW_BYTES)
        self._send(data)
        return session

    def _ask(self, make: Callable[[int], bytes], answer: Answer) -> None:
        if len(self._answers) >= _WAITING_LIMIT:
            raise GuestError("the guest's agent does not answer", "restart the VM")
        token = self._next_token()
        data = make(token)
        self._answers[token] = answer
        self._send(data)

    def _send(self, data: bytes) -> None:
        self._waiting.append(data)
        self._pump()

    def _pump(self) -> None:
        """Give the port what it takes; it may call back meanwhile."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._waiting and self._port.receive_whole(self._waiting[0]):
                self._waiting.popleft()
        finally:
            self._pumping = False

    def _opened(self, is_open: bool) -> None:
        """The guest has opened or closed its end: an agent begins, or has ended."""
        if is_open:
            self.begin()
        else:
            self._port.forget_input()
            self._waiting.clear()
            self._end_all(GuestError("the guest's agent has ended", "wait until the VM is ready again"))

    def _end_all(self, error: InnkeeperError) -> None:
        was_ready, self.is_ready = self.is_ready, False
        sessions, self._sessions = self._sessions, {}
        answers, self._answers = self._answers, {}
        for session in sessions.values():
            session.fail(error)
        for answer in answers.values():
            answer(error)
        if was_ready:
            self._on_ready(False)

    def _receive(self, data: bytes) -> None:
        try:
            for kind, token, payload in self._reader.feed(data):
                self._take(kind, token, payload)
        except (GuestError, HostError, ConfigError) as error:
            self._on_trouble(str(error))
            self._end_all(error)
            # Nothing of it is heard any more until another agent opens the port.
            self._reader.begin(os.urandom(say.NONCE_BYTES))

    def _take(self, kind: int, token: int, payload: bytes) -> None:
        if kind == say.HELLO:
            self._greeted(payload)
            return
        session = self._sessions.get(token)
        if session is not None:
            session.take(kind, payload)
            return
        answer = self._answers.pop(token, None)
        if answer is not None:
            answer(wire.decode_numbers(payload))

    def _greeted(self, payload: bytes) -> None:
        numbers = wire.decode_numbers(payload[say.NONCE_BYTES :])
        version = numbers[0] if numbers else 0
        if version != say.VERSION:
            raise GuestError(
                f"the guest's agent has version {version}, not {say.VERSION}", "start the VM anew"
            )
        self.version = version
        self.set_identity(self._identity(), self._identified)

    def _identified(self, errnos: tuple[int, ...] | InnkeeperError) -> None:
        if isinstance(errnos, InnkeeperError):
            return
        for step, errno in zip(say.IDENTITY_STEPS, errnos, strict=False):
            if errno:
                reason = os.strerror(errno) if errno < 4096 else str(errno)
                self._on_trouble(f"the guest's {step} could not be set: {reason}")
        self.is_ready = True
        self._on_ready(True)
