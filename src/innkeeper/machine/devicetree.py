# SPDX-License-Identifier: Apache-2.0
"""Writes a flattened devicetree from a tree of `Node`s.

Spec: devicetree-specification v0.4, chapter 5 "Flattened Devicetree (DTB) Format"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from innkeeper.errors import ConfigError
from innkeeper.spec import devicetree as fdt

Value = bytes | str | int | Sequence[str] | Sequence[int] | None
"""A property: raw bytes, a string, a u32, a list of strings or of u32 cells, or None (present, empty)."""


@dataclass
class Node:
    """One node: `name` with its unit address ("" for the root), its properties and children in order."""

    name: str
    properties: dict[str, Value] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def add(self, name: str, **properties: Value) -> Node:
        """Append a child and give it back.

        In the keywords `_` stands for `-`, and a trailing `_` is dropped; set other names in `properties`.
        """
        child = Node(name, {key.rstrip("_").replace("_", "-"): value for key, value in properties.items()})
        self.children.append(child)
        return child


def cells64(*values: int) -> list[int]:
    """Each value as two u32 cells, as addresses and sizes are given where #address-cells is 2."""
    return [half for value in values for half in (value >> 32, value & 0xFFFF_FFFF)]


def flatten(root: Node, *, boot_hart: int = 0, reserved: Sequence[tuple[int, int]] = ()) -> bytes:
    """The tree as a DTB of version 17.

    `boot_hart` goes to boot_cpuid_phys, `reserved` are (address, size) of the memory reservation block.
    Raises ConfigError for a name or a value that the format cannot hold.
    """
    strings = _Strings()
    structure = bytearray()
    _write_node(root, structure, strings, is_root=True)
    structure += fdt.END.to_bytes(4, "big")
    reservations = b"".join(fdt.RESERVE_ENTRY.pack(*entry) for entry in (*reserved, (0, 0)))

    # 5.1: the reservation block is 8-byte aligned (the header has 40 bytes), the structure block 4-byte.
    structure_offset = fdt.HEADER.size + len(reservations)
    strings_offset = structure_offset + len(structure)
    total = _aligned(strings_offset + len(strings.block), 8)
    header = fdt.HEADER.pack(
        fdt.MAGIC,
        total,
        structure_offset,
        strings_offset,
        fdt.HEADER.size,
        fdt.VERSION,
        fdt.LAST_COMPATIBLE_VERSION,
        boot_hart,
        len(strings.block),
        len(structure),
    )
    return (header + reservations + bytes(structure) + bytes(strings.block)).ljust(total, b"\0")


class _Strings:
    """The strings block: each property name once (5.5)."""

    def __init__(self) -> None:
        self.block = bytearray()
        self._offsets: dict[str, int] = {}

    def offset(self, name: str) -> int:
        if name not in self._offsets:
            self._offsets[name] = len(self.block)
            self.block += name.encode("ascii") + b"\0"
        return self._offsets[name]


def _write_node(node: Node, structure: bytearray, strings: _Strings, *, is_root: bool = False) -> None:
    _check_name(node.name, fdt.NODE_NAME_CHARACTERS, allow_empty=is_root, limit=63)
    structure += fdt.BEGIN_NODE.to_bytes(4, "big")
    structure += _padded(node.name.encode("ascii") + b"\0")
    for name, value in node.properties.items():
        _check_name(name, fdt.PROPERTY_NAME_CHARACTERS, allow_empty=False, limit=fdt.NAME_MAX_CHARACTERS)
        data = encode_value(name, value)
        structure += fdt.PROP.to_bytes(4, "big") + len(data).to_bytes(4, "big")
        structure += strings.offset(name).to_bytes(4, "big") + _padded(data)
    for child in node.children:
        _write_node(child, structure, strings)
    structure += fdt.END_NODE.to_bytes(4, "big")


def encode_value(name: str, value: Value) -> bytes:
    """The property's bytes (2.2.4 "Property values"); ConfigError if `value` does not fit."""
    try:
        if value is None:
            return b""
        if isinstance(value, bytes | bytearray):
            return bytes(value)
        if isinstance(value, int):
            return value.to_bytes(4, "big")
        items: Sequence[str] | Sequence[int] = [value] if isinstance(value, str) else value
        return b"".join(
            _encode_string(item) if isinstance(item, str) else item.to_bytes(4, "big") for item in items
        )
    except (OverflowError, ValueError) as error:
        raise ConfigError(f"devicetree property {name} cannot hold {value!r}: {error}") from error


def _encode_string(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ValueError("a string must not contain NUL")
    return data + b"\0"


def _check_name(name: str, allowed: frozenset[str], *, allow_empty: bool, limit: int) -> None:
    if len(name) > limit or not allowed.issuperset(name) or not (name or allow_empty):
        raise ConfigError(f"{name!r} is not a devicetree name")


def _aligned(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment


def _padded(data: bytes) -> bytes:
    return data.ljust(_aligned(len(data), 4), b"\0")
