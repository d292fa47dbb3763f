# SPDX-License-Identifier: Apache-2.0
"""Blocks of pcapng, little-endian, for Ethernet interfaces with times in nanoseconds.

Spec: draft-ietf-opsawg-pcapng, 4.1 "Section Header Block", 4.2 "Interface Description Block", 4.3 "Enhanced
Packet Block".
"""

from __future__ import annotations

import struct

from innkeeper.devices.virtio.net_frame import FRAME_BYTES_MAX

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER = 0x1A2B3C4D
_LINKTYPE_ETHERNET = 1
_OPTION_END, _OPTION_NAME, _OPTION_RESOLUTION, _OPTION_FLAGS, _OPTION_APPLICATION = 0, 2, 9, 2, 4
_NANOSECONDS = b"\x09"
_TO_GUEST, _FROM_GUEST = 1, 2
"""Direction in epb_flags: inbound and outbound, as the guest sees it."""


def section() -> bytes:
    """The first block of a file."""
    options = _option(_OPTION_APPLICATION, b"innkeeper") + _option(_OPTION_END, b"")
    return _block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1), options)


def interface(name: str) -> bytes:
    """An interface; they are numbered from 0 in the order of their blocks."""
    options = _option(_OPTION_NAME, name.encode()) + _option(_OPTION_RESOLUTION, _NANOSECONDS)
    fixed = struct.pack("<HHI", _LINKTYPE_ETHERNET, 0, FRAME_BYTES_MAX)
    return _block(_INTERFACE, fixed, options + _option(_OPTION_END, b""))


def packet(number: int, data: bytes | bytearray | memoryview, time_ns: int, *, to_guest: bool) -> bytes:
    """A frame at interface `number`."""
    size_bytes = len(data)
    high, low = time_ns >> 32 & 0xFFFF_FFFF, time_ns & 0xFFFF_FFFF
    fixed = struct.pack("<IIIII", number, high, low, size_bytes, size_bytes)
    flags = struct.pack("<I", _TO_GUEST if to_guest else _FROM_GUEST)
    options = _option(_OPTION_FLAGS, flags) + _option(_OPTION_END, b"")
    return _block(_PACKET, b"".join((fixed, data, bytes(-size_bytes % 4))), options)


def _block(kind: int, body: bytes, options: bytes) -> bytes:
    size_bytes = 12 + len(body) + len(options)
    start, end = struct.pack("<II", kind, size_bytes), struct.pack("<I", size_bytes)
    return b"".join((start, body, options, end))


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
