# SPDX-License-Identifier: Apache-2.0
"""Frames between the VMM and the guest's agent, seen from the VMM. See `innkeeper.guest_agent.protocol`.

The guest is hostile: what makes no sense is a GuestError, and nothing grows without a bound.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from innkeeper.api.vmm_protocol import ExecParameters
from innkeeper.errors import ConfigError, GuestError
from innkeeper.guest_agent import protocol as say

_HEADER = struct.Struct("<II")
_EXEC = struct.Struct(say.EXEC_HEAD)
_WRITE = struct.Struct(say.WRITE_HEAD)
_IDENTITY = struct.Struct(say.IDENTITY_HEAD)
_STAT = struct.Struct(say.STAT_BODY)
_NUMBER = struct.Struct("<I")
_WINDOW = struct.Struct("<HH")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Identity:
    """Who the guest is to be. Empty strings and None leave what there is; `wall_ns` 0 leaves its clock."""

    hostname: str = ""
    machine_id: str = ""
    generation: str = ""
    mac_address: bytes | None = None
    wall_ns: int = 0


@dataclass(frozen=True)
class FileStatus:
    """What the guest says of a file. `mode` has type and permission bits as in `st_mode`."""

    mode: int
    links: int
    uid: int
    gid: int
    size_bytes: int
    modified_ns: int


def frame(kind: int, token: int, payload: bytes = b"") -> bytes:
    """One frame. ConfigError if the payload is too long for one."""
    if len(payload) > say.PAYLOAD_LIMIT_BYTES:
        raise ConfigError(
            f"the command and its environment have more than {say.PAYLOAD_LIMIT_BYTES} bytes",
            "put what is long into a file (inn cp) or on standard input",
        )
    return _HEADER.pack(kind | len(payload) << 8, token) + payload


def number_frame(kind: int, token: int, number: int) -> bytes:
    """A frame of 32 bits."""
    return frame(kind, token, _NUMBER.pack(number & 0xFFFFFFFF))


def window_frame(token: int, columns: int, rows: int) -> bytes:
    """The terminal's size."""
    return frame(say.WINDOW, token, _WINDOW.pack(columns & 0xFFFF, rows & 0xFFFF))


def exec_frame(token: int, parameters: ExecParameters, credit_bytes: int) -> bytes:
    """Start a command. What the environment of a login has is added, unless it is given."""
    env = {"PATH": DEFAULT_PATH, "LANG": "C.UTF-8"}
    if parameters.tty:
        env["TERM"] = "xterm-256color"
    env |= parameters.env
    argv = parameters.argv
    head = _EXEC.pack(
        say.EXEC_TTY if parameters.tty else 0,
        parameters.columns,
        parameters.rows,
        min(len(argv), 0xFFFF),
        min(len(env), 0xFFFF),
        credit_bytes,
    )
    variables = [f"{name}={value}" for name, value in env.items()]
    return frame(say.EXEC, token, head + _strings([parameters.user, parameters.cwd, *argv, *variables]))


def fits_agent(parameters: ExecParameters) -> bool:
    """Whether the agent can be asked for this command: its frames are bounded."""
    try:
        exec_frame(1, parameters, 0)
    except ConfigError:
        return False
    return True


def read_frame(token: int, path: str, credit_bytes: int) -> bytes:
    """Read a file."""
    return frame(say.READ, token, _NUMBER.pack(credit_bytes) + _strings([path]))


def status_frame(token: int, path: str) -> bytes:
    """Look at a file."""
    return frame(say.STATUS, token, _strings([path]))


def write_frame(token: int, path: str, permissions: int, modified_ns: int | None) -> bytes:
    """Write a file, with permission bits and, unless None, time of change."""
    seconds, nanoseconds = divmod(modified_ns or 0, 1_000_000_000)
    flags = 0 if modified_ns is None else say.WRITE_TIME
    head = _WRITE.pack(permissions & 0o7777, flags, seconds, nanoseconds)
    return frame(say.WRITE, token, head + _strings([path]))


def identity_frame(token: int, identity: Identity) -> bytes:
    """Give the guest an identity, with fresh randomness."""
    seconds, nanoseconds = divmod(identity.wall_ns, 1_000_000_000)
    entropy = os.urandom(say.ENTROPY_BYTES)
    head = _IDENTITY.pack(seconds, nanoseconds, entropy, identity.mac_address or bytes(6))
    return frame(
        say.IDENTITY, token, head + _strings([identity.hostname, identity.machine_id, identity.generation])
    )


def decode_number(payload: bytes) -> int:
    """GuestError for a payload of another form, as in all that decode."""
    if len(payload) < _NUMBER.size:
        raise _senseless()
    return int(_NUMBER.unpack_from(payload)[0])


def decode_numbers(payload: bytes) -> tuple[int, ...]:
    """All 32-bit numbers of a payload."""
    return tuple(number for (number,) in _NUMBER.iter_unpack(payload[: len(payload) & ~3]))


def decode_status(payload: bytes) -> FileStatus:
    """STAT."""
    if len(payload) != _STAT.size:
        raise _senseless()
    mode, links, uid, gid, size, seconds, nanoseconds = _STAT.unpack(payload)
    return FileStatus(mode, links, uid, gid, size, seconds * 1_000_000_000 + nanoseconds % 1_000_000_000)


class AgentReader:
    """Divides what the agent writes into frames, once it has answered the last `begin`."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._wanted = b""
        """While the answer to RESET has not come: how it begins."""

    def begin(self, nonce: bytes) -> None:
        """A new conversation: drop everything up to the agent's answer to it."""
        self._buffer.clear()
        self._wanted = frame(say.HELLO, 0, nonce + bytes(8))[: _HEADER.size + say.NONCE_BYTES]

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """(kind, token, payload) of the frames that `data` completes. GuestError for what can be none."""
        buffer = self._buffer
        buffer += data
        if self._wanted and not self._synchronise():
            return []
        frames = []
        position = 0
        while len(buffer) - position >= _HEADER.size:
            word, token = _HEADER.unpack_from(buffer, position)
            length = word >> 8
            if length > say.PAYLOAD_LIMIT_BYTES:
                buffer.clear()
                raise _senseless()
            end = position + _HEADER.size + length
            if end > len(buffer):
                break
            frames.append((word & 0xFF, token, bytes(buffer[position + _HEADER.size : end])))
            position = end
        del buffer[:position]
        return frames

    def _synchronise(self) -> bool:
        at = self._buffer.find(self._wanted)
        if at < 0:
            del self._buffer[: max(0, len(self._buffer) - len(self._wanted) + 1)]
            return False
        del self._buffer[:at]
        self._wanted = b""
        return True


def _senseless() -> GuestError:
    return GuestError("the guest's agent says what makes no sense", "restart the VM")


def _strings(texts: Sequence[str]) -> bytes:
    """Each ended by NUL. ConfigError for one that has a NUL inside."""
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    if any(b"\0" in text for text in encoded):
        raise ConfigError("an argument holds a NUL byte", "leave it out: no program can receive it")
    return b"".join(text + b"\0" for text in encoded)
