# SPDX-License-Identifier: Apache-2.0
"""IPv4 headers, read and written. Spec: RFC 791 3.1 "Internet Header Format"."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from innkeeper.network.checksum import checksum, ones_sum
from innkeeper.network.datagram import Datagram, Fragment

HEADER = struct.Struct("!BBHHHBBH4s4s")
HEADER_BYTES = HEADER.size
PACKET_BYTES_MAX = 65535
_DONT_FRAGMENT, _MORE_FRAGMENTS, _OFFSET_MASK = 0x4000, 0x2000, 0x1FFF


def parse(packet: memoryview) -> Datagram | Fragment | None:
    """What `packet`, which may have padding behind it, holds; None if it is damaged.

    Options are skipped: a source route asks for what a host must not do here (RFC 6274 3.13.2.3).
    """
    if len(packet) < HEADER_BYTES:
        return None
    version_length, _, total_bytes, identification, fragment, ttl, protocol, _, source, target = (
        HEADER.unpack_from(packet)
    )
    header_bytes = (version_length & 15) * 4
    if version_length >> 4 != 4 or not HEADER_BYTES <= header_bytes <= total_bytes <= len(packet):
        return None
    if ones_sum(packet[:header_bytes]) != 0xFFFF:
        return None
    payload = packet[header_bytes:total_bytes]
    datagram = Datagram(
        source, target, protocol, payload, ttl, identification, bool(fragment & _DONT_FRAGMENT)
    )
    more, offset_bytes = bool(fragment & _MORE_FRAGMENTS), (fragment & _OFFSET_MASK) * 8
    return Fragment(datagram, offset_bytes, more) if more or offset_bytes else datagram


def header(
    source: bytes,
    target: bytes,
    protocol: int,
    payload_bytes: int,
    *,
    identification: int = 0,
    fragment: int = _DONT_FRAGMENT,
) -> bytes:
    """A header without options, its checksum in place."""
    packed = HEADER.pack(
        0x45, 0, HEADER_BYTES + payload_bytes, identification, fragment, 64, protocol, 0, source, target
    )
    return packed[:10] + checksum(packed).to_bytes(2, "big") + packed[12:]


def fragments(
    source: bytes, target: bytes, protocol: int, payload: bytes, mtu_bytes: int, identification: int
) -> Iterator[bytes]:
    """Packets of at most `mtu_bytes` that together are one datagram. Spec: RFC 791 3.2 "Fragmentation"."""
    step_bytes = (mtu_bytes - HEADER_BYTES) // 8 * 8
    for start in range(0, len(payload), step_bytes):
        part = payload[start : start + step_bytes]
        more = _MORE_FRAGMENTS if start + step_bytes < len(payload) else 0
        yield (
            header(
                source,
                target,
                protocol,
                len(part),
                identification=identification,
                fragment=more | start // 8,
            )
            + part
        )
