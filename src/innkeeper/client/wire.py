# SPDX-License-Identifier: Apache-2.0
"""Messages of console, exec and event WebSockets. See `innkeeper.hypervisor.http.streams`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from innkeeper.api.decode import decode
from innkeeper.api.frames import (
    PAYLOAD_LIMIT_BYTES,
    FrameKind,
    decode_exit,
    decode_failure,
    encode_signal,
    encode_window,
)
from innkeeper.api.models import Event, ExecRequest, Problem
from innkeeper.api.problems import error_of
from innkeeper.errors import HostError

_FRAME_HEAD_BYTES = 5
MESSAGE_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True)
class ExecResult:
    """How a command in a guest ended. `returncode` is 128 + the signal's number if it was killed, 124 if it
    took longer than its time-out."""

    stdout: bytes
    stderr: bytes
    returncode: int


@dataclass(frozen=True)
class Output:
    """Something that came from a guest: `kind` is STDOUT, STDERR or EXIT; `status` is that of EXIT."""

    kind: FrameKind
    data: bytes
    status: int = 0


def read_output(message: str | bytes) -> Output:
    """What a message brings. Raises the error that it brings, HostError for one that makes no sense."""
    if isinstance(message, bytes) and message and message[0] <= FrameKind.ERROR:
        kind, payload = FrameKind(message[0]), message[1:]
        if kind == FrameKind.ERROR:
            raise decode_failure(payload)
        if kind == FrameKind.EXIT:
            return Output(kind, b"", decode_exit(payload))
        return Output(kind, payload)
    raise HostError("the hypervisor sent a message that makes no sense", "use the same version of both")


def read_event(message: str | bytes) -> Event:
    """The event in a message; raises the problem that it brings."""
    try:
        data = json.loads(message)
    except ValueError as error:
        raise HostError("the hypervisor sent a message that makes no sense") from error
    if isinstance(data, dict) and "problem" in data:
        raise error_of(decode(Problem, data["problem"]))
    return decode(Event, data)


def input_messages(data: bytes) -> Iterator[bytes]:
    """Standard input in messages."""
    for start in range(0, len(data), PAYLOAD_LIMIT_BYTES):
        yield bytes([FrameKind.STDIN]) + data[start : start + PAYLOAD_LIMIT_BYTES]


def input_end_message() -> bytes:
    """Standard input is at its end."""
    return bytes([FrameKind.STDIN])


def window_message(columns: int, rows: int) -> bytes:
    """The terminal has another size."""
    return _message(encode_window(columns, rows))


def signal_message(number: int) -> bytes:
    """Send the command a signal."""
    return _message(encode_signal(number))


def _message(frame: bytes) -> bytes:
    return frame[:1] + frame[_FRAME_HEAD_BYTES:]


def exec_message(request: ExecRequest) -> str:
    """The first message of a command."""
    return json.dumps(asdict(request))
