# SPDX-License-Identifier: Apache-2.0
"""Reads a DTB back into `Node`s, written from the specification alone; strict, for tests."""

from __future__ import annotations

import struct

from innkeeper.machine.devicetree import Node


def read_fdt(blob: bytes) -> Node:
    """Spec: devicetree-specification v0.4, chapter 5."""
    magic, total, structure, strings, reserved, version, compatible, _, strings_size, structure_size = (
        struct.unpack_from(">10I", blob)
    )
    assert magic == 0xD00DFEED and total == len(blob) and version == 17 and compatible == 16
    assert reserved % 8 == 0 and structure % 4 == 0
    assert structure + structure_size <= strings and strings + strings_size <= total
    position, stack = structure, [Node("")]

    def word() -> int:
        nonlocal position
        (value,) = struct.unpack_from(">I", blob, position)
        position += 4
        return int(value)

    while (token := word()) != 9:
        if token == 1:
            end = blob.index(b"\0", position)
            node = Node(blob[position:end].decode())
            position = (end + 4) & ~3
            stack[-1].children.append(node)
            stack.append(node)
        elif token == 2:
            stack.pop()
        elif token == 3:
            length, name_at = word(), strings + word()
            name = blob[name_at : blob.index(b"\0", name_at)].decode()
            assert name not in stack[-1].properties
            stack[-1].properties[name] = blob[position : position + length]
            position += (length + 3) & ~3
        else:
            assert token == 4
    assert position == structure + structure_size and len(stack) == 1
    (root,) = stack[0].children
    return root
