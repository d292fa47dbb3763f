# SPDX-License-Identifier: Apache-2.0
"""The header in front of a frame on its way between processes: that of virtio, which TAP interfaces use too.

Spec: virtio-1.3 5.1.6 "Device Operation", struct virtio_net_hdr.
"""

from __future__ import annotations

import struct

from innkeeper.devices.virtio.net_frame import ETHERNET_HEADER_BYTES, FRAME_BYTES_MAX, Frame
from innkeeper.spec.virtio import (
    NET_HDR_F_DATA_VALID,
    NET_HDR_F_NEEDS_CSUM,
    NET_HDR_GSO_NONE,
    NET_HDR_GSO_TCPV4,
    NET_HDR_GSO_TCPV6,
    NET_HEADER_BYTES,
)

PACKET_BYTES_MAX = NET_HEADER_BYTES + FRAME_BYTES_MAX
_HEADER = struct.Struct("<BBHHHHH")
_KINDS = (NET_HDR_GSO_NONE, NET_HDR_GSO_TCPV4, NET_HDR_GSO_TCPV6)


def pack(frame: Frame) -> bytes:
    """The NET_HEADER_BYTES bytes in front of `frame.data`."""
    flags = NET_HDR_F_DATA_VALID if frame.checksum_valid else 0
    start = offset = 0
    if frame.checksum_start >= 0:
        flags, start, offset = NET_HDR_F_NEEDS_CSUM, frame.checksum_start, frame.checksum_offset
    return _HEADER.pack(flags, frame.gso_type, frame.header_bytes, frame.gso_size_bytes, start, offset, 1)


def unpack(packet: memoryview) -> Frame | None:
    """The frame of a whole packet, a view of it; None if it makes no sense."""
    size_bytes = len(packet) - NET_HEADER_BYTES
    if not ETHERNET_HEADER_BYTES <= size_bytes <= FRAME_BYTES_MAX:
        return None
    flags, gso_type, header_bytes, gso_bytes, start, offset, _ = _HEADER.unpack_from(packet)
    data = packet[NET_HEADER_BYTES:]
    if not flags & NET_HDR_F_NEEDS_CSUM:
        valid = bool(flags & NET_HDR_F_DATA_VALID)
        return Frame(data, checksum_valid=valid) if gso_type == NET_HDR_GSO_NONE else None
    if start + offset + 2 > size_bytes or gso_type not in _KINDS or (gso_type and not gso_bytes):
        return None
    return Frame(data, gso_type, gso_bytes, header_bytes, start, offset)
