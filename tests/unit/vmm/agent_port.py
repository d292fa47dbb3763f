# SPDX-License-Identifier: Apache-2.0
"""A port with a scripted agent behind it, and one who listens to sessions."""

from __future__ import annotations

import struct
from collections.abc import Callable

from innkeeper.errors import InnkeeperError
from innkeeper.guest_agent import protocol as say
from innkeeper.vmm.agent import GuestAgent
from innkeeper.vmm.agent_wire import FileStatus, Identity

IDENTITY = Identity("name", "1" * 32, "2" * 32)


class Port:
    """Keeps what the VMM sends, at most `room_bytes` until `read` takes it."""

    def __init__(self, room_bytes: int = 65536) -> None:
        self.on_output: Callable[[bytes], None] = lambda data: None
        self.on_open: Callable[[bool], None] = lambda is_open: None
        self.on_space: Callable[[], None] = lambda: None
        self.room_bytes = room_bytes
        self.input = bytearray()
        self.is_open = False

    def receive_whole(self, data: bytes) -> bool:
        if len(self.input) + len(data) > self.room_bytes:
            return False
        self.input += data
        return True

    def set_open(self, is_open: bool) -> None:
        self.is_open = is_open

    def forget_input(self) -> None:
        self.input.clear()

    def read(self) -> list[tuple[int, int, bytes]]:
        """The frames that came: (kind, token, payload)."""
        found = []
        while self.input:
            word, token = struct.unpack_from("<II", self.input)
            end = 8 + (word >> 8)
            assert end <= len(self.input), "a part of a frame"
            found.append((word & 0xFF, token, bytes(self.input[8:end])))
            del self.input[:end]
            self.on_space()
        return found

    def say(self, kind: int, token: int, payload: bytes = b"") -> None:
        """The agent sends a frame."""
        self.on_output(frame(kind, token, payload))


def frame(kind: int, token: int, payload: bytes = b"") -> bytes:
    return struct.pack("<II", kind | len(payload) << 8, token) + payload


class Listener:
    """What became of a session."""

    def __init__(self) -> None:
        self.output: list[tuple[int, bytes]] = []
        self.file: FileStatus | None = None
        self.spaces = 0
        self.end: int | InnkeeperError | None = None

    def on_output(self, kind: int, data: bytes) -> None:
        self.output.append((kind, data))

    def on_file(self, status: FileStatus) -> None:
        self.file = status

    def on_space(self) -> None:
        self.spaces += 1

    def on_end(self, result: int | InnkeeperError) -> None:
        assert self.end is None, "it ended twice"
        self.end = result


class Bench:
    """An agent whose guest is the test."""

    def __init__(self, room_bytes: int = 65536) -> None:
        self.port = Port(room_bytes)
        self.ready: list[bool] = []
        self.troubles: list[str] = []
        self.agent = GuestAgent(self.port, lambda: IDENTITY, self.ready.append, self.troubles.append)

    def greet(self) -> None:
        """The agent starts and takes its identity."""
        self.port.on_open(True)
        [(kind, _, nonce)] = self.port.read()
        assert kind == say.RESET
        self.port.say(say.HELLO, 0, nonce + struct.pack("<II", say.VERSION, say.SESSION_LIMIT))
        [(kind, token, _)] = self.port.read()
        assert kind == say.IDENTITY
        self.port.say(say.DONE, token, bytes(24))
        assert self.agent.is_ready
