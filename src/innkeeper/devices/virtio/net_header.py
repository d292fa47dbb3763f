# SPDX-License-Identifier: Apache-2.0
"""The header in front of a frame: between driver and device, and on TAP interfaces and between switches too.

Spec: virtio-1.3 5.1.6 "Device Operation", struct virtio_net_hdr.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from innkeeper.devices.virtio.net_frame import ETHERNET_HEADER_BYTES, FRAME_BYTES_MAX, Frame
from innkeeper.errors import GuestError
from innkeeper.spec.virtio import (
    NET_HDR_F_DATA_VALID,
    NET_HDR_F_NEEDS_CSUM,
    NET_HDR_GSO_NONE,
    NET_HDR_GSO_TCPV4,
    NET_HDR_GSO_TCPV6,
    NET_HEADER_BYTES,
)

PACKET_BYTES_MAX = NET_HEADER_BYTES + FRAME_BYTES_MAX
# flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers.
_HEADER = struct.Struct("<BBHHHHH")
_KINDS = (NET_HDR_GSO_NONE, NET_HDR_GSO_TCPV4, NET_HDR_GSO_TCPV6)


def pack(frame: Frame, buffer_count: int = 1) -> bytes:
    """The NET_HEADER_BYTES bytes in front of `frame.data`."""
    flags = NET_HDR_F_DATA_VALID if frame.checksum_valid else 0
    start = offset = 0
    if frame.checksum_start >= 0:
        flags, start, offset = NET_HDR_F_NEEDS_CSUM, frame.checksum_start, frame.checksum_offset
    return _HEADER.pack(
        flags, frame.gso_type, frame.header_bytes, frame.gso_size_bytes, start, offset, buffer_count
    )


def unpack(header: memoryview, data: memoryview) -> Frame | None:
    """The frame that `data` is behind `header` (at least NET_HEADER_BYTES); None if it makes no sense."""
    size_bytes = len(data)
    if not ETHERNET_HEADER_BYTES <= size_bytes <= FRAME_BYTES_MAX:
        return None
    flags, gso_type, header_bytes, gso_bytes, start, offset, _ = _HEADER.unpack_from(header)
    if not flags & NET_HDR_F_NEEDS_CSUM:
        valid = bool(flags & NET_HDR_F_DATA_VALID)
        return Frame(data, checksum_valid=valid) if gso_type == NET_HDR_GSO_NONE else None
    if start + offset + 2 > size_bytes or gso_type not in _KINDS or (gso_type and not gso_bytes):
        return None
    if gso_type == NET_HDR_GSO_NONE:
        return Frame(data, checksum_start=start, checksum_offset=offset)
    return Frame(data, gso_type, gso_bytes, header_bytes, start, offset)


def split(segments: list[memoryview]) -> tuple[memoryview, memoryview]:
    """The header, and behind it the frame, of a packet in `segments`, however a driver framed both.

    Without a copy where the frame is in one segment. GuestError where even the header is cut.
    """
    first = segments[0] if segments else memoryview(b"")
    if len(segments) == 1 and len(first) >= NET_HEADER_BYTES:
        return first, first[NET_HEADER_BYTES:]
    if len(segments) == 2 and len(first) == NET_HEADER_BYTES:
        return first, segments[1]
    total_bytes = sum(map(len, segments))
    if total_bytes < NET_HEADER_BYTES:
        raise GuestError("a transmitted packet is shorter than its header")
    if total_bytes > PACKET_BYTES_MAX:
        return memoryview(bytes(NET_HEADER_BYTES)), memoryview(b"")  # no frame: nothing is worth a copy
    packet = memoryview(b"".join(segments))
    return packet, packet[NET_HEADER_BYTES:]


def scatter(
    header: bytes, data: bytes | bytearray | memoryview, buffers: Sequence[tuple[int, list[memoryview]]]
) -> list[tuple[int, int]]:
    """Write header and data into the buffers' segments; returns the head and the bytes written of each."""
    source, done, size_bytes = memoryview(data), 0, len(data)
    rest = header
    written: list[tuple[int, int]] = []
    for head, segments in buffers:
        count = 0
        for segment in segments:
            room = len(segment)
            if rest:
                part = rest[:room]
                segment[: len(part)] = part
                rest = rest[len(part) :]
                count += len(part)
                segment = segment[len(part) :]
                room -= len(part)
            left = size_bytes - done
            if room >= left:
                segment[:left] = source[done:]
                count += left
                done = size_bytes
                break
            segment[:] = source[done : done + room]
            done += room
            count += room
        written.append((head, count))
    return written
