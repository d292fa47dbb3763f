# SPDX-License-Identifier: Apache-2.0
"""IP headers and fragments."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.machine.clock import VirtualClock
from innkeeper.network import ipv4, ipv6
from innkeeper.network.checksum import checksum
from innkeeper.network.datagram import Datagram, Fragment
from innkeeper.network.limits import NS_PER_S, Limits
from innkeeper.network.reassembly import Reassembly
from tests.unit.network.packets import GUEST, GUEST6, ip, packed

A4, B4 = packed("10.0.2.15"), packed("1.2.3.4")
A6, B6 = packed("fd00::1"), packed("2001:db8::2")


def parsed(frame: bytes) -> Datagram | Fragment | None:
    packet = memoryview(frame)[14:]
    return ipv4.parse(packet) if packet[0] >> 4 == 4 else ipv6.parse(packet)


@pytest.mark.parametrize(("source", "target"), [(GUEST, "1.2.3.4"), (GUEST6, "2001:db8::2")])
def test_padding_is_no_payload(source: str, target: str) -> None:
    datagram = parsed(ip(source, target, 99, b"abc") + bytes(20))
    assert isinstance(datagram, Datagram)
    assert (datagram.source, datagram.target) == (packed(source), packed(target))
    assert (datagram.protocol, bytes(datagram.payload)) == (99, b"abc")


def test_ipv4_options_and_payload() -> None:
    header = struct.pack("!BBHHHBBH", 0x46, 0, 28, 0, 0, 64, 17, 0) + A4 + B4 + b"\x01\x01\x01\0"
    header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
    assert len(header) == 24
    datagram = ipv4.parse(memoryview(header + b"abcd"))
    assert isinstance(datagram, Datagram)
    assert bytes(datagram.payload) == b"abcd"


def test_ipv6_extensions_are_skipped() -> None:
    hop_by_hop = bytes((60, 0)) + bytes(6)
    destination = bytes((17, 1)) + bytes(14)
    datagram = parsed(ip(GUEST6, "2001:db8::2", 0, hop_by_hop + destination + b"abc"))
    assert isinstance(datagram, Datagram)
    assert (datagram.protocol, bytes(datagram.payload)) == (17, b"abc")


def test_ipv6_does_not_route() -> None:
    routing = bytes((17, 0, 0, 1)) + bytes(4)
    assert parsed(ip(GUEST6, "2001:db8::2", 43, routing)) is None


@pytest.mark.parametrize("cut", range(1, 39))
def test_cut_packets_are_damaged(cut: int) -> None:
    for source, target in ((GUEST, "1.2.3.4"), (GUEST6, "2001:db8::2")):
        assert parsed(ip(source, target, 17, b"x" * 19)[:-cut]) is None


def test_wrong_checksum_is_damage() -> None:
    frame = bytearray(ip(GUEST, "1.2.3.4", 17, b"abc"))
    frame[14 + 8] ^= 1
    assert parsed(bytes(frame)) is None


@given(st.binary(min_size=1, max_size=6000), st.integers(68, 1500), st.booleans(), st.randoms())
def test_fragments_make_the_datagram(data: bytes, mtu_bytes: int, is_v4: bool, random: object) -> None:
    source, target = (A4, B4) if is_v4 else (A6, B6)
    module = ipv4 if is_v4 else ipv6
    pieces = list(module.fragments(source, target, 17, data, mtu_bytes, 7))
    assert all(len(piece) <= mtu_bytes for piece in pieces)
    random.shuffle(pieces)  # type: ignore[attr-defined]
    limits = Limits(reassembly_fragments=200)
    reassembly = Reassembly(VirtualClock(), limits)
    done = []
    for piece in pieces:
        fragment = module.parse(memoryview(piece))
        if isinstance(fragment, Datagram):
            done.append(fragment)
        else:
            assert isinstance(fragment, Fragment)
            whole = reassembly.add(fragment)
            if whole is not None:
                done.append(whole)
    assert [bytes(whole.payload) for whole in done] == [data]
    assert len(reassembly) == 0


def fragment(offset_bytes: int, data: bytes, more: bool, identification: int = 1) -> Fragment:
    return Fragment(Datagram(A4, B4, 17, memoryview(data), 64, identification), offset_bytes, more)


def test_duplicate_fragments_change_nothing() -> None:
    reassembly = Reassembly(VirtualClock(), Limits())
    assert reassembly.add(fragment(0, b"a" * 8, True)) is None
    assert reassembly.add(fragment(0, b"a" * 8, True)) is None
    whole = reassembly.add(fragment(8, b"b", False))
    assert whole is not None and bytes(whole.payload) == b"aaaaaaaab"


@pytest.mark.parametrize(
    "bad",
    [
        fragment(0, b"z" * 8, True),
        fragment(8, b"z" * 24, True),
        fragment(16, b"z", False),
        fragment(65528, b"z" * 8, True),
        fragment(32, b"z" * 7, True),
        fragment(32, b"", True),
    ],
    ids=["other bytes", "overlap", "two ends", "too long", "no multiple of 8", "empty"],
)
def test_contradictions_spoil_the_datagram(bad: Fragment) -> None:
    """Spec: RFC 5722 4: not even a right fragment saves it."""
    reassembly = Reassembly(VirtualClock(), Limits())
    for part in (fragment(0, b"a" * 16, True), fragment(24, b"c", False), bad, fragment(16, b"b" * 8, True)):
        assert reassembly.add(part) is None


def test_old_fragments_are_forgotten() -> None:
    clock = VirtualClock()
    reassembly = Reassembly(clock, Limits())
    reassembly.add(fragment(0, b"a" * 8, True))
    clock.advance_ns(31 * NS_PER_S)
    assert reassembly.add(fragment(8, b"b", False)) is None
    assert len(reassembly) == 1


def test_oldest_datagram_makes_room() -> None:
    reassembly = Reassembly(VirtualClock(), Limits(reassembly_datagrams=2))
    for identification in range(5):
        reassembly.add(fragment(0, b"a" * 8, True, identification))
    assert len(reassembly) == 2
    assert reassembly.add(fragment(8, b"b", False, 4)) is not None


def test_too_many_fragments_spoil_the_datagram() -> None:
    reassembly = Reassembly(VirtualClock(), Limits(reassembly_fragments=3))
    for number in range(4):
        assert reassembly.add(fragment(8 * number, b"a" * 8, True)) is None
    assert reassembly.add(fragment(32, b"b", False)) is None
