# SPDX-License-Identifier: Apache-2.0
"""State as plain data: a dataclass to what JSON holds, and back with every type and bound checked.

Fields are int, bool, str, bytes, bytearray, lists and deques of these, `T | None` and further dataclasses.
Bytes become base64. What a snapshot says is outside data: anything unexpected is a ConfigError.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import types
import typing
from collections import deque
from typing import Any, TypeVar, cast

from innkeeper.errors import ConfigError

T = TypeVar("T")
Plain = Any
"""What the json module reads: dict, list, str, int, bool, None."""

INT_LIMIT = 1 << 128
LIST_LIMIT = 65536
BYTES_LIMIT = 1 << 20
REMEDY = "use another snapshot, or start the VM from its disks"


def refuse(what: str) -> ConfigError:
    """The error for saved state that cannot be."""
    return ConfigError(f"the saved state is damaged: {what}", REMEDY)


def require(condition: bool, what: str) -> None:
    """ConfigError that says `what` unless the condition holds."""
    if not condition:
        raise refuse(what)


def to_plain(state: object) -> Plain:
    """`state` (a dataclass, or what its fields may be) as plain data."""
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        return {f.name: to_plain(getattr(state, f.name)) for f in dataclasses.fields(state)}
    if isinstance(state, (bytes, bytearray)):
        return base64.b64encode(state).decode("ascii")
    if isinstance(state, (list, tuple, deque)):
        return [to_plain(item) for item in state]
    if state is None or isinstance(state, (bool, int, str)):
        return state
    raise TypeError(f"a {type(state).__name__} cannot be saved")


def from_plain(kind: type[T], data: Plain, where: str) -> T:
    """The `kind` that `to_plain` has made `data` from; `where` names it in errors."""
    return cast(T, _value(kind, data, where))


@functools.lru_cache(maxsize=64)
def _fields(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _value(kind: Any, data: Plain, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _dataclass(cast(type, kind), data, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        inner = [argument for argument in arguments if argument is not types.NoneType]
        return None if data is None else _value(inner[0], data, where)
    if origin in (list, deque, tuple):
        require(isinstance(data, list) and len(data) <= LIST_LIMIT, f"{where} is not a list")
        return origin(_value(arguments[0], item, where) for item in data)
    if kind in (bytes, bytearray):
        return kind(_bytes(data, where))
    require(type(data) is kind, f"{where} is not of type {kind.__name__}")
    if kind is int:
        require(-INT_LIMIT < data < INT_LIMIT, f"{where} is out of range")
    elif kind is str:
        require(len(data) <= BYTES_LIMIT, f"{where} is too long")
    return data


def _dataclass(kind: type, data: Plain, where: str) -> Any:
    fields = _fields(kind)
    require(isinstance(data, dict) and data.keys() == fields.keys(), f"{where} has other fields")
    return kind(**{name: _value(hint, data[name], f"{where}.{name}") for name, hint in fields.items()})


def _bytes(data: Plain, where: str) -> bytes:
    require(isinstance(data, str) and len(data) <= 2 * BYTES_LIMIT, f"{where} is not bytes")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise refuse(f"{where} is not base64") from error
