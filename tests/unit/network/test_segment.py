# SPDX-License-Identifier: Apache-2.0
"""Segmentation and checksums in software, against sums made the slow way."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from innkeeper.devices.virtio.net_frame import Frame, Offloads
from innkeeper.network.segment import SEGMENTS_MAX, adapt

NOTHING, CHECKSUM = Offloads(), Offloads(checksum=True)
ALL = Offloads(checksum=True, tso4=True, tso6=True)
ETHERNET = bytes(12)
OPTIONS = b"\x01\x01\x08\x0a" + bytes(8)


def word_sum(data: bytes) -> int:
    """RFC 1071 as it is written there."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def super_frame(payload: bytes, size_bytes: int, *, ipv6: bool, flags: int = 0x19, sequence: int = 2**32 - 5):
    tcp = struct.pack("!HHIIBBHHH", 80, 5000, sequence, 7, (20 + len(OPTIONS)) // 4 << 4, flags, 500, 0, 0)
    tcp += OPTIONS
    transport_bytes = len(tcp) + len(payload)
    if ipv6:
        header = struct.pack("!IHBB", 6 << 28, transport_bytes, 6, 64) + bytes(range(32))
        pseudo = header[8:40] + struct.pack("!II", transport_bytes, 6)
        start, kind, ethertype = 54, 4, b"\x86\xdd"
    else:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + transport_bytes, 65535, 0, 64, 6, 0) + bytes(range(8))
        pseudo = header[12:20] + struct.pack("!HH", 6, transport_bytes)
        start, kind, ethertype = 34, 1, b"\x08\x00"
    tcp = tcp[:16] + struct.pack("!H", word_sum(pseudo)) + tcp[18:]
    data = ETHERNET + ethertype + header + tcp + payload
    return Frame(data, kind, size_bytes, start + len(tcp), start, 16)


def check_segment(data: bytes, *, ipv6: bool) -> tuple[int, int, bytes]:
    """Sequence number, flags and payload of a frame whose lengths and sums are right."""
    if ipv6:
        header, tcp = data[14:54], data[54:]
        assert struct.unpack("!H", header[4:6])[0] == len(tcp)
        pseudo = header[8:40] + struct.pack("!II", len(tcp), 6)
    else:
        header, tcp = data[14:34], data[34:]
        assert word_sum(header) == 0xFFFF and struct.unpack("!H", header[2:4])[0] == len(header) + len(tcp)
        pseudo = header[12:20] + struct.pack("!HH", 6, len(tcp))
    assert word_sum(pseudo + tcp) == 0xFFFF
    return struct.unpack("!I", tcp[4:8])[0], tcp[13], tcp[20 + len(OPTIONS) :]


@given(st.binary(min_size=1, max_size=5000), st.integers(10, 1460), st.booleans())
def test_segments_are_whole_packets_that_give_the_stream(payload, size_bytes, ipv6):
    frames = adapt(super_frame(payload, size_bytes, ipv6=ipv6), NOTHING)
    assert all(frame.gso_type == 0 and frame.checksum_start == -1 for frame in frames)
    stream, expected = b"", 2**32 - 5
    for number, frame in enumerate(frames):
        sequence, flags, part = check_segment(bytes(frame.data), ipv6=ipv6)
        assert sequence == expected and flags == (0x19 if number + 1 == len(frames) else 0x10)
        expected = (expected + len(part)) % 2**32
        stream += part
    assert stream == payload and max(len(frame.data) for frame in frames) <= 66 + 20 + size_bytes


def test_with_checksum_offload_the_sums_stay_partial():
    frames = adapt(super_frame(bytes(3000), 1000, ipv6=False), CHECKSUM)
    assert [(frame.checksum_start, frame.checksum_offset) for frame in frames] == [(34, 16)] * 3
    for frame in frames:
        (completed,) = adapt(frame, NOTHING)
        check_segment(bytes(completed.data), ipv6=False)


def test_what_the_guest_can_do_itself_is_left_to_it():
    frame = super_frame(bytes(3000), 1000, ipv6=True)
    assert adapt(frame, ALL) == [frame]
    plain = Frame(bytes(60))
    assert adapt(plain, NOTHING) == [plain]


def test_udp_never_gets_the_sum_that_means_none():
    data = bytearray(14 + 20 + 8)
    data[34:42] = struct.pack("!HHHH", 0xFFFF, 0, 0, 0)
    (frame,) = adapt(Frame(data, checksum_start=34, checksum_offset=6), NOTHING)
    assert bytes(frame.data[40:42]) == b"\xff\xff"


@given(
    st.binary(max_size=200),
    st.integers(0, 255),
    st.integers(0, 65535),
    st.integers(0, 198),
    st.booleans(),
)
def test_nonsense_gives_nothing_or_frames_but_no_error(data, kind, size_bytes, start, checksum):
    data = data.ljust(14, b"\0")
    start = min(start, len(data) - 2)
    for frame in adapt(Frame(data, kind, size_bytes, 0, start, 0), Offloads(checksum=checksum)):
        assert len(frame.data) <= len(data)


def test_super_frames_in_crumbs_are_refused():
    assert adapt(super_frame(bytes(SEGMENTS_MAX + 1), 1, ipv6=False), NOTHING) == []
