# SPDX-License-Identifier: Apache-2.0
"""Frames of a byte stream between a client and a VMM: consoles, commands, files.

One byte says the kind, four (big-endian) the length of the payload, at most 64 KiB; then the payload.
"""

from __future__ import annotations

import json
import struct
from enum import IntEnum

from innkeeper.api.messages import error_from_json, error_to_json
from innkeeper.errors import HostError, InnkeeperError

PAYLOAD_LIMIT_BYTES = 65536
_HEAD = struct.Struct(">BI")
_STATUS = struct.Struct(">i")
_SIZE = struct.Struct(">HH")


class FrameKind(IntEnum):
    """What a frame carries. STDIN, WINDOW and SIGNAL go to the VMM, the others come from it."""

    STDIN = 0
    """Bytes; none: the end."""
    STDOUT = 1
    STDERR = 2
    EXIT = 3
    """Status as a signed 32-bit number: 0..255, 128 + signal, 124 for a time-out. The last frame."""
    WINDOW = 4
    """Columns and rows, 16 bits each."""
    SIGNAL = 5
    """Number of a Linux signal, 8 bits."""
    ERROR = 6
    """JSON as in answers: kind, message, remedy. The last frame."""


def encode_frame(kind: FrameKind, payload: bytes = b"") -> bytes:
    """One frame. ValueError for a payload that is too long; see `encode_data`."""
    if len(payload) > PAYLOAD_LIMIT_BYTES:
        raise ValueError("the payload of a frame is longer than 64 KiB")
    return _HEAD.pack(kind, len(payload)) + payload


def encode_data(kind: FrameKind, data: bytes) -> bytes:
    """As many frames as `data` needs; none for no data."""
    parts = [data[i : i + PAYLOAD_LIMIT_BYTES] for i in range(0, len(data), PAYLOAD_LIMIT_BYTES)]
    return b"".join(encode_frame(kind, part) for part in parts)


def encode_exit(status: int) -> bytes:
    """The command has ended."""
    return encode_frame(FrameKind.EXIT, _STATUS.pack(status))


def encode_window(columns: int, rows: int) -> bytes:
    """The client's terminal has another size."""
    return encode_frame(FrameKind.WINDOW, _SIZE.pack(columns & 0xFFFF, rows & 0xFFFF))


def encode_signal(number: int) -> bytes:
    """Send a signal to the command."""
    return encode_frame(FrameKind.SIGNAL, bytes([number]))


def encode_failure(error: InnkeeperError) -> bytes:
    """The stream ends with an error."""
    return encode_frame(FrameKind.ERROR, json.dumps(error_to_json(error)).encode())


def decode_exit(payload: bytes) -> int:
    """HostError for a payload of another form, as in the functions below."""
    return int(_unpack(_STATUS, payload)[0])


def decode_window(payload: bytes) -> tuple[int, int]:
    """Columns and rows."""
    columns, rows = _unpack(_SIZE, payload)
    return columns, rows


def decode_signal(payload: bytes) -> int:
    """Number of a signal, 1 to 64."""
    if len(payload) != 1 or not 1 <= payload[0] <= 64:
        raise HostError("a frame names no signal", "send a number from 1 to 64")
    return payload[0]


def decode_failure(payload: bytes) -> InnkeeperError:
    """The error that ended the stream."""
    try:
        data = json.loads(payload)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise HostError("an error frame makes no sense")
    return error_from_json(data)


class FrameReader:
    """Divides what comes from a stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[FrameKind, bytes]]:
        """The frames that `data` completes. HostError for a kind or a length that is not known."""
        self._buffer += data
        frames = []
        position = 0
        while len(self._buffer) - position >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._buffer, position)
            if length > PAYLOAD_LIMIT_BYTES or kind > FrameKind.ERROR:
                raise HostError("a frame of a stream makes no sense", "use clients of the same version")
            end = position + _HEAD.size + length
            if end > len(self._buffer):
                break
            frames.append((FrameKind(kind), bytes(self._buffer[position + _HEAD.size : end])))
            position = end
        del self._buffer[:position]
        return frames


def _unpack(form: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) != form.size:
        raise HostError("a frame of a stream has the wrong length", "use clients of the same version")
    return form.unpack(payload)
