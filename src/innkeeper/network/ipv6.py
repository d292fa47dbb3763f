# SPDX-License-Identifier: Apache-2.0
"""IPv6 headers, read and written. Spec: RFC 8200 3 "IPv6 Header Format" and 4 "IPv6 Extension Headers"."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from innkeeper.network.datagram import Datagram, Fragment
from innkeeper.spec.internet import (
    IPV6_DESTINATION_OPTIONS,
    IPV6_FRAGMENT,
    IPV6_HOP_BY_HOP,
    IPV6_ROUTING,
)

HEADER = struct.Struct("!IHBB16s16s")
HEADER_BYTES = HEADER.size
PAYLOAD_BYTES_MAX = 65535
_FRAGMENT = struct.Struct("!BBHI")
_EXTENSIONS_MAX = 8
_ROUTING_LEFT_OFFSET = 3


def parse(packet: memoryview) -> Datagram | Fragment | None:
    """What `packet`, which may have padding behind it, holds; None if it is damaged or asks to be routed."""
    if len(packet) < HEADER_BYTES:
        return None
    first, payload_bytes, next_header, hop_limit, source, target = HEADER.unpack_from(packet)
    if first >> 28 != 6 or HEADER_BYTES + payload_bytes > len(packet):
        return None
    datagram = Datagram(
        source,
        target,
        next_header,
        packet[HEADER_BYTES : HEADER_BYTES + payload_bytes],
        hop_limit,
        dont_fragment=True,
    )
    return _skip_extensions(datagram)


def _skip_extensions(datagram: Datagram) -> Datagram | Fragment | None:
    """Move `datagram` past its extension headers; their options ask nothing of us."""
    for _ in range(_EXTENSIONS_MAX):
        extension, payload = datagram.protocol, datagram.payload
        if extension == IPV6_FRAGMENT:
            return _fragment(datagram)
        if extension not in (IPV6_HOP_BY_HOP, IPV6_ROUTING, IPV6_DESTINATION_OPTIONS):
            return datagram
        if len(payload) < 8:
            return None
        if extension == IPV6_ROUTING and payload[_ROUTING_LEFT_OFFSET]:
            return None
        size_bytes = 8 + payload[1] * 8
        if size_bytes > len(payload):
            return None
        datagram.protocol, datagram.payload = payload[0], payload[size_bytes:]
    return None


def _fragment(datagram: Datagram) -> Datagram | Fragment | None:
    """Spec: RFC 8200 4.5 "Fragment Header"."""
    if len(datagram.payload) < _FRAGMENT.size:
        return None
    protocol, _, offset, identification = _FRAGMENT.unpack_from(datagram.payload)
    datagram.protocol, datagram.identification = protocol, identification
    datagram.payload = datagram.payload[_FRAGMENT.size :]
    if offset & 0xFFF9 == 0:
        # An atomic fragment, RFC 6946: whole, whatever else is on its way.
        return datagram
    return Fragment(datagram, offset & 0xFFF8, bool(offset & 1))


def header(source: bytes, target: bytes, protocol: int, payload_bytes: int, *, hop_limit: int = 64) -> bytes:
    """A header without extensions."""
    return HEADER.pack(6 << 28, payload_bytes, protocol, hop_limit, source, target)


def fragments(
    source: bytes, target: bytes, protocol: int, payload: bytes, mtu_bytes: int, identification: int
) -> Iterator[bytes]:
    """Packets of at most `mtu_bytes` that together are one datagram."""
    step_bytes = (mtu_bytes - HEADER_BYTES - _FRAGMENT.size) // 8 * 8
    for start in range(0, len(payload), step_bytes):
        part = payload[start : start + step_bytes]
        more = int(start + step_bytes < len(payload))
        extension = _FRAGMENT.pack(protocol, 0, start | more, identification)
        yield header(source, target, IPV6_FRAGMENT, len(extension) + len(part)) + extension + part
