# SPDX-License-Identifier: Apache-2.0
"""Does in software what a sender left undone and a receiver cannot do: checksums and segmentation of TCP.

Between two guests frames keep their offloads; this is for a guest whose driver has not agreed to them.
Spec: virtio-1.3 5.1.6.2 "Packet Transmission"; Linux, Documentation/networking/segmentation-offloads.rst.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from innkeeper.devices.virtio.net_frame import ETHERNET_HEADER_BYTES, Frame, Offloads
from innkeeper.network.checksum import checksum, fold, ones_sum, pseudo_sum
from innkeeper.spec.internet import PROTOCOL_TCP
from innkeeper.spec.virtio import NET_HDR_GSO_ECN, NET_HDR_GSO_NONE, NET_HDR_GSO_TCPV4, NET_HDR_GSO_TCPV6

SEGMENTS_MAX = 512
"""A super-frame in so small pieces would only be made to cost us time."""
_IPV4_HEADER_BYTES, _IPV6_HEADER_BYTES, _TCP_HEADER_BYTES = 20, 40, 20
_FIN, _PSH, _CWR = 0x01, 0x08, 0x80
_CHECKSUM_OFFSET = 16
_SEQUENCE_MASK = (1 << 32) - 1


def adapt(frame: Frame, offloads: Offloads) -> list[Frame]:
    """`frame` as frames that `offloads` allow; none where it makes no sense or is cut too small."""
    kind = frame.gso_type & ~NET_HDR_GSO_ECN
    if kind == NET_HDR_GSO_NONE:
        if frame.checksum_start >= 0 and not offloads.checksum:
            return [_completed(frame)]
        return [frame]
    allowed = {NET_HDR_GSO_TCPV4: offloads.tso4, NET_HDR_GSO_TCPV6: offloads.tso6}.get(kind)
    if allowed is None:
        return []
    if allowed and offloads.checksum:
        return [frame]
    return list(_segments(frame, kind == NET_HDR_GSO_TCPV6, complete=not offloads.checksum))


def _completed(frame: Frame) -> Frame:
    """With the checksum that is only the pseudo-header's so far. Spec: RFC 1071."""
    data = bytearray(frame.data)
    start, place = frame.checksum_start, frame.checksum_start + frame.checksum_offset
    value = checksum(memoryview(data)[start:])
    # UDP says by 0 that there is none (RFC 768); in TCP both mean the same.
    data[place : place + 2] = (value or 0xFFFF).to_bytes(2, "big")
    return replace(frame, data=data, checksum_start=-1, checksum_offset=0, checksum_valid=True)


def _segments(frame: Frame, is_ipv6: bool, *, complete: bool) -> Iterator[Frame]:
    data, start, size_bytes = memoryview(frame.data), frame.checksum_start, frame.gso_size_bytes
    header_bytes = _header_bytes(data, start, is_ipv6)
    payload_bytes = len(data) - header_bytes
    if header_bytes == 0 or size_bytes == 0 or payload_bytes > SEGMENTS_MAX * size_bytes:
        return
    template = bytes(data[:header_bytes])
    sequence = int.from_bytes(template[start + 4 : start + 8], "big")
    identification = int.from_bytes(template[18:20], "big")
    flags = template[start + 13]
    for number, offset in enumerate(range(0, payload_bytes, size_bytes)):
        part = data[header_bytes + offset : header_bytes + offset + size_bytes]
        segment = bytearray(template)
        transport_bytes = header_bytes - start + len(part)
        if is_ipv6:
            segment[18:20] = (start - ETHERNET_HEADER_BYTES - 40 + transport_bytes).to_bytes(2, "big")
            sum_of_ends = pseudo_sum(template[22:38], template[38:54], PROTOCOL_TCP, transport_bytes)
        else:
            _patch_ipv4(segment, start, transport_bytes, identification + number)
            sum_of_ends = pseudo_sum(template[26:30], template[30:34], PROTOCOL_TCP, transport_bytes)
        segment[start + 4 : start + 8] = (sequence + offset & _SEQUENCE_MASK).to_bytes(4, "big")
        is_last = offset + size_bytes >= payload_bytes
        segment[start + 13] = flags & ~((_CWR if number else 0) | (0 if is_last else _FIN | _PSH)) & 0xFF
        place = start + _CHECKSUM_OFFSET
        segment[place : place + 2] = sum_of_ends.to_bytes(2, "big")
        segment += part
        partial = Frame(segment, checksum_start=start, checksum_offset=_CHECKSUM_OFFSET)
        yield _completed(partial) if complete else partial


def _header_bytes(data: memoryview, start: int, is_ipv6: bool) -> int:
    """Where the payload of a TCP super-frame begins; 0 if it is none."""
    ip_bytes = _IPV6_HEADER_BYTES if is_ipv6 else _IPV4_HEADER_BYTES
    if start < ETHERNET_HEADER_BYTES + ip_bytes or start + _TCP_HEADER_BYTES > len(data):
        return 0
    if data[ETHERNET_HEADER_BYTES] >> 4 != (6 if is_ipv6 else 4):
        return 0
    if not is_ipv6 and start != ETHERNET_HEADER_BYTES + (data[ETHERNET_HEADER_BYTES] & 15) * 4:
        return 0
    header_bytes = start + (data[start + 12] >> 4) * 4
    return header_bytes if start + _TCP_HEADER_BYTES <= header_bytes <= len(data) else 0


def _patch_ipv4(segment: bytearray, start: int, transport_bytes: int, identification: int) -> None:
    """Length, identification and checksum of one segment's IPv4 header."""
    segment[16:18] = (start - ETHERNET_HEADER_BYTES + transport_bytes).to_bytes(2, "big")
    segment[18:20] = (identification & 0xFFFF).to_bytes(2, "big")
    segment[24:26] = bytes(2)
    value = fold(ones_sum(memoryview(segment)[ETHERNET_HEADER_BYTES:start])) ^ 0xFFFF
    segment[24:26] = value.to_bytes(2, "big")
