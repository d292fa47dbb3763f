# SPDX-License-Identifier: Apache-2.0
"""Dataclasses of `innkeeper.api.models` from plain JSON values, for clients: the answers of a newer server
may say more, and that is left out."""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from innkeeper.errors import HostError

T = TypeVar("T")
_REMEDY = "use the same version of both"


def decode(cls: type[T], data: object) -> T:
    """An instance of the dataclass `cls`. HostError, naming the field, if `data` is of another form."""
    return cast(T, _convert(cls, data, cls.__name__))


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        return _convert_fields(kind, value, where)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(part for part in arguments if part is not type(None)), value, where)
    if origin is list:
        return [_convert(arguments[0], item, where) for item in _expect(list, value, where)]
    if origin is dict:
        items = _expect(dict, value, where).items()
        return {key: _convert(arguments[1], item, where) for key, item in items}
    if kind is float and isinstance(value, int):
        return float(value)
    if isinstance(kind, type) and kind is not Any:
        return _expect(kind, value, where)
    return value


def _convert_fields(cls: type, value: Any, where: str) -> Any:
    given = _expect(dict, value, where)
    hints = _hints(cls)
    values = {}
    for item in fields(cls):
        if item.name in given:
            values[item.name] = _convert(hints[item.name], given[item.name], f"{where}.{item.name}")
        elif item.default is MISSING and item.default_factory is MISSING:
            raise HostError(f"the hypervisor's answer lacks {where}.{item.name}", _REMEDY)
    return cls(**values)


def _expect(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise HostError(f"the hypervisor's answer has a wrong {where}", _REMEDY)
    return value
