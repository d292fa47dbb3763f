# SPDX-License-Identifier: Apache-2.0
"""Lines of JSON on a VMM's control socket: requests, answers, events. See `innkeeper.api.vmm_protocol`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from innkeeper.api.vmm_protocol import LINE_LIMIT_BYTES
from innkeeper.errors import ConfigError, GuestError, HostError, InnkeeperError

_KINDS: dict[str, type[InnkeeperError]] = {"guest": GuestError, "host": HostError, "config": ConfigError}
_TEXT_LIMIT = 4096


@dataclass(frozen=True)
class Request:
    """One call. `params` are checked by the method."""

    id: int
    method: str
    params: Mapping[str, Any]


class LineReader:
    """Divides what comes from a socket into lines. At most LINE_LIMIT_BYTES wait for their end."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends. ConfigError for one that is too long."""
        self._buffer += data
        end = self._buffer.rfind(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            if self._scanned > LINE_LIMIT_BYTES:
                raise ConfigError("a line of more than 1 MiB came", "send less at once")
            return []
        lines = bytes(self._buffer[:end]).split(b"\n")
        del self._buffer[: end + 1]
        self._scanned = len(self._buffer)
        if any(len(line) > LINE_LIMIT_BYTES for line in lines) or self._scanned > LINE_LIMIT_BYTES:
            raise ConfigError("a line of more than 1 MiB came", "send less at once")
        return lines

    def rest(self) -> bytes:
        """Take what is behind the last line: the first bytes of a stream that began there."""
        result = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return result


def encode_line(message: Mapping[str, Any]) -> bytes:
    """A message as a line. ConfigError if it is too long."""
    line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    if len(line) > LINE_LIMIT_BYTES:
        raise ConfigError("a message of more than 1 MiB cannot be sent", "send less at once")
    return line


def encode_request(number: int, method: str, params: Mapping[str, Any]) -> bytes:
    """A request as a line."""
    return encode_line({"id": number, "method": method, "params": params})


def encode_result(number: int, result: Mapping[str, Any]) -> bytes:
    """A good answer as a line."""
    return encode_line({"id": number, "result": result})


def encode_error(number: int, error: InnkeeperError) -> bytes:
    """A bad answer as a line."""
    return encode_line({"id": number, "error": error_to_json(error)})


def decode_request(line: bytes) -> Request:
    """ConfigError for a line that is no request."""
    data = _object(line)
    number, method, params = data.get("id"), data.get("method"), data.get("params", {})
    if not isinstance(method, str) or not isinstance(params, dict) or not _is_number(number):
        raise ConfigError("a request has the wrong form", "send id, method and params")
    return Request(number, method, params)


def decode_answer(line: bytes) -> tuple[int, dict[str, Any] | InnkeeperError]:
    """The request's number, and its result or error. HostError for a line that is no answer."""
    try:
        data = _object(line)
    except ConfigError as error:
        raise HostError(f"the VMM answers what makes no sense: {error.message}") from error
    number, result, error_data = data.get("id"), data.get("result"), data.get("error")
    if _is_number(number):
        if isinstance(result, dict):
            return number, result
        if isinstance(error_data, dict):
            return number, error_from_json(error_data)
    raise HostError("the VMM answers what makes no sense", "see its vmm.log")


def error_to_json(error: InnkeeperError) -> dict[str, str]:
    """`kind`, `message` and `remedy` of an error."""
    kind = next((name for name, cls in _KINDS.items() if isinstance(error, cls)), "host")
    return {"kind": kind, "message": error.message[:_TEXT_LIMIT], "remedy": error.remedy[:_TEXT_LIMIT]}


def error_from_json(data: Mapping[str, Any]) -> InnkeeperError:
    """The error that `error_to_json` was given; HostError for a kind that is not known."""
    cls = _KINDS.get(str(data.get("kind")), HostError)
    return cls(str(data.get("message", ""))[:_TEXT_LIMIT], str(data.get("remedy", ""))[:_TEXT_LIMIT])


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def _object(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"a line is no JSON: {error}", "send one JSON object a line") from error
    if not isinstance(data, dict):
        raise ConfigError("a line is no JSON object", "send one JSON object a line")
    return data
