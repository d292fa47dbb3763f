# SPDX-License-Identifier: Apache-2.0
"""Whatever a guest sends: nothing escapes from the NAT, what it answers is well formed, nothing piles up."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.devices.virtio.net_frame import Frame, Offloads
from innkeeper.network.limits import Limits
from innkeeper.network.policy import Policy
from tests.unit.network.conftest import Guest
from tests.unit.network.packets import (
    DNS,
    DNS6,
    GATEWAY,
    GATEWAY6,
    GUEST,
    GUEST6,
    FakePort,
    icmp,
    ip,
    packed,
    tcp,
    udp,
)

LIMITS = Limits(udp_flows=8, tcp_connections=8, tcp_opening=8, reassembly_datagrams=4, backlog_frames=16)
PORTS = st.sampled_from([0, 1, 53, 67, 68, 546, 547, 1000, 65535])
BYTES = st.binary(max_size=200)
OURS4 = st.sampled_from([GATEWAY, DNS, "10.0.2.255", "255.255.255.255", "224.0.0.1", "127.0.0.1"])
OURS6 = st.sampled_from([GATEWAY6, DNS6, "ff02::1", "ff02::1:2", "fe80::2", "::1", "::ffff:127.0.0.1"])
DNS_FLAGS = st.sampled_from([0x0100, 0x8100, 0x2800])
DNS_PIECES = st.sampled_from(
    [b"\x01a", b"\x3fxyz", b"\0", b"\xc0\x0c", b"\xc0\xff", b"\0\x01\0\x01", b"\0\0\x29\x10\0", b"\xff"]
)
DHCP_OPTIONS = st.tuples(st.sampled_from([50, 53, 54, 55, 255]), st.binary(max_size=8))
SOURCES4 = st.sampled_from([GUEST, "0.0.0.0", "10.0.2.2", "10.0.2.255", "8.8.8.8"])
SOURCES6 = st.sampled_from([GUEST6, "::", "fe80::1", GATEWAY6, "2001:db8::1"])
ENDS = st.one_of(st.tuples(SOURCES4, OURS4), st.tuples(SOURCES6, OURS6))


@st.composite
def dhcp_messages(draw: st.DrawFn) -> bytes:
    fixed = struct.pack(
        "!BBBBIHH4s4s4s4s16s64s128s4s", draw(st.integers(0, 3)), 1, draw(st.sampled_from([6, 16])), 0, 7, 0,
        draw(st.sampled_from([0, 0x8000])), packed(draw(SOURCES4)), b"", b"", b"", b"\x52\x54", b"", b"",
        draw(st.sampled_from([bytes.fromhex("63825363"), b"abcd"])),
    )  # fmt: skip
    options = b"".join(bytes((code, len(value))) + value for code, value in draw(st.lists(DHCP_OPTIONS)))
    return fixed + options + draw(st.binary(max_size=8))


@st.composite
def dns_messages(draw: st.DrawFn) -> bytes:
    counts = draw(st.tuples(*[st.integers(0, 2)] * 4))
    header = struct.pack("!HHHHHH", 1, draw(DNS_FLAGS), *counts)
    return header + b"".join(draw(st.lists(DNS_PIECES, max_size=12)))


@st.composite
def transports(draw: st.DrawFn) -> bytes:
    source, target = draw(ENDS)
    kind = draw(st.sampled_from(["udp", "tcp", "icmp", "dhcp", "dns", "ip", "ndp"]))
    if kind == "udp":
        return udp(source, draw(PORTS), target, draw(PORTS), draw(BYTES))
    if kind == "dhcp":
        return udp(source, 68, target, draw(st.sampled_from([67, 547])), draw(dhcp_messages()))
    if kind == "dns":
        return udp(source, 1234, target, 53, draw(dns_messages()))
    if kind == "tcp":
        return tcp(
            source, draw(st.sampled_from([1, 2])), target, draw(st.sampled_from([53, 1])),
            draw(st.sampled_from([0, 1, 100, 0xFFFFFFFF, 0x80000000])), draw(st.integers(0, 2**32 - 1)),
            draw(st.integers(0, 63)), draw(BYTES), options=draw(st.binary(max_size=36)),
        )  # fmt: skip
    if kind == "icmp":
        head = bytes((draw(st.sampled_from([0, 3, 8, 128, 129, 255])), draw(st.integers(0, 1)), 0, 0))
        return icmp(source, target, head + draw(BYTES))
    if kind == "ndp":
        head = bytes((draw(st.sampled_from([133, 134, 135, 136, 143])), 0, 0, 0)) + bytes(4)
        return icmp(GUEST6, target if ":" in target else GATEWAY6, head + draw(BYTES), hop_limit=255)
    return ip(source, target, draw(st.integers(0, 255)), draw(BYTES))


@st.composite
def hostile_frames(draw: st.DrawFn) -> Frame:
    """A packet that makes some sense, with a few bytes changed, cut, or wrong offloads; or just bytes."""
    data = bytearray(draw(st.one_of(transports(), transports(), transports(), BYTES)))
    if draw(st.booleans()):
        for at, value in draw(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=4)):
            if at < len(data):
                data[at] = value
    if draw(st.integers(0, 9)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    frame = Frame(bytes(data))
    if draw(st.integers(0, 3)) == 0:
        frame.checksum_start = draw(st.integers(0, 70000))
        frame.checksum_offset = draw(st.integers(0, 70000))
        frame.gso_type = draw(st.sampled_from([0, 1, 4, 5, 0x81, 77]))
        frame.gso_size_bytes = draw(st.integers(0, 65535))
    return frame


@given(
    st.lists(st.lists(hostile_frames(), min_size=1, max_size=6), min_size=1, max_size=8),
    st.booleans(),
    st.sampled_from([None, 0, 3]),
)
@settings(max_examples=150)
def test_nothing_escapes(batches: list[list[Frame]], offloads: bool, buffers: int | None) -> None:
    port = FakePort(offloads=Offloads(offloads, offloads, offloads))
    port.buffers = buffers
    guest = Guest(port, limits=LIMITS, policy=Policy.parse(allow=["host"]))
    try:
        for batch in batches:
            guest.net.send(batch)
            guest.loop.turn()
            guest.loop.advance_s(1)
            port.seen()
        port.buffers = None
        guest.net.receive_ready()
        port.seen()
        assert len(guest.loop.readers) <= 200
        guest.loop.advance_s(9000)
        assert guest.net.buffered_bytes == 0
    finally:
        guest.net.close()
    assert not guest.loop.readers and not guest.loop.writers
    assert guest.net.statistics.tcp_open == guest.net.statistics.udp_open == 0


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 8191), BYTES, st.booleans()), max_size=40))
def test_fragments_are_bounded(pieces: list[tuple[int, int, bytes, bool]]) -> None:
    port = FakePort()
    guest = Guest(port, limits=LIMITS)
    try:
        for identification, offset, payload, more in pieces:
            header = (
                struct.pack(
                    "!BBHHHBBH", 0x45, 0, 20 + len(payload), identification, offset | more << 13, 64, 17, 0
                )
                + packed(GUEST)
                + packed(GATEWAY)
            )
            guest.send(ip(GUEST, GATEWAY, 17, b"")[:14] + header + payload)
        assert guest.net.reassembling <= LIMITS.reassembly_datagrams
        port.seen()
    finally:
        guest.net.close()
