# SPDX-License-Identifier: Apache-2.0
"""A guest's packets, made and read by hand: a second implementation, as plain as the RFCs."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from innkeeper.devices.virtio.net_frame import Frame, Offloads

GUEST_MAC = bytes.fromhex("525400abcdef")
GATEWAY_MAC = bytes.fromhex("52550a000202")
GUEST, GATEWAY, DNS = "10.0.2.15", "10.0.2.2", "10.0.2.3"
GUEST6, GATEWAY6, DNS6 = "fd00:a:0:2::15", "fd00:a:0:2::2", "fd00:a:0:2::3"
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def rfc1071(data: bytes) -> int:
    """The checksum over `data`, word by word."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def pseudo(source: str, target: str, protocol: int, size_bytes: int) -> bytes:
    if ":" in source:
        return packed(source) + packed(target) + struct.pack("!II", size_bytes, protocol)
    return packed(source) + packed(target) + struct.pack("!BBH", 0, protocol, size_bytes)


def ethernet(ethertype: int, payload: bytes) -> bytes:
    return GATEWAY_MAC + GUEST_MAC + struct.pack("!H", ethertype) + payload


def ip(source: str, target: str, protocol: int, payload: bytes, *, hop_limit: int = 64) -> bytes:
    """A whole frame with one datagram, IPv4 or IPv6 as the addresses say."""
    if ":" in source:
        header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hop_limit)
        return ethernet(0x86DD, header + packed(source) + packed(target) + payload)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, hop_limit, protocol, 0)
    header += packed(source) + packed(target)
    header = header[:10] + struct.pack("!H", rfc1071(header)) + header[12:]
    return ethernet(0x0800, header + payload)


def with_checksum(source: str, target: str, protocol: int, transport: bytes, at: int) -> bytes:
    blank = transport[:at] + b"\0\0" + transport[at + 2 :]
    stored = rfc1071(pseudo(source, target, protocol, len(blank)) + blank)
    return blank[:at] + struct.pack("!H", stored or (0xFFFF if protocol == 17 else 0)) + blank[at + 2 :]


def udp(source: str, source_port: int, target: str, port: int, data: bytes) -> bytes:
    transport = struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data
    return ip(source, target, 17, with_checksum(source, target, 17, transport, 6))


def tcp(
    source: str, source_port: int, target: str, port: int, sequence: int, ack: int, flags: int,
    data: bytes = b"", *, window: int = 65535, options: bytes = b"",
) -> bytes:  # fmt: skip
    options += bytes(-len(options) % 4)
    offset_flags = (5 + len(options) // 4) << 12 | flags
    transport = struct.pack(
        "!HHIIHHHH", source_port, port, sequence & 0xFFFFFFFF, ack & 0xFFFFFFFF, offset_flags, window, 0, 0
    )
    return ip(source, target, 6, with_checksum(source, target, 6, transport + options + data, 16))


def icmp(source: str, target: str, message: bytes, *, hop_limit: int = 64) -> bytes:
    if ":" in source:
        whole = with_checksum(source, target, 58, message, 2)
        return ip(source, target, 58, whole, hop_limit=hop_limit)
    stored = struct.pack("!H", rfc1071(message[:2] + b"\0\0" + message[4:]))
    return ip(source, target, 1, message[:2] + stored + message[4:])


@dataclass
class Seen:
    """A frame that the guest got, its checksums verified."""

    frame: Frame
    ethertype: int
    source: str = ""
    target: str = ""
    protocol: int = 0
    hop_limit: int = 0
    payload: bytes = b""

    @property
    def ports(self) -> tuple[int, int]:
        source, target = struct.unpack_from("!HH", self.payload)
        return source, target

    @property
    def udp_data(self) -> bytes:
        return self.payload[8:]

    @property
    def sequence(self) -> int:
        return int.from_bytes(self.payload[4:8], "big")

    @property
    def ack(self) -> int:
        return int.from_bytes(self.payload[8:12], "big")

    @property
    def flags(self) -> int:
        return self.payload[13]

    @property
    def window(self) -> int:
        return int.from_bytes(self.payload[14:16], "big")

    @property
    def options(self) -> bytes:
        return self.payload[20 : (self.payload[12] >> 4) * 4]

    @property
    def data(self) -> bytes:
        return self.payload[(self.payload[12] >> 4) * 4 :]


def see(frame: Frame) -> Seen:
    """Read a frame as a guest would. Fails on wrong lengths and checksums."""
    data = bytes(frame.data)
    assert data[6:12] == GATEWAY_MAC
    ethertype = int.from_bytes(data[12:14], "big")
    packet = data[14:]
    if ethertype == 0x0800:
        assert packet[0] == 0x45 and rfc1071(packet[:20]) == 0
        assert int.from_bytes(packet[2:4], "big") == len(packet)
        seen = Seen(
            frame, ethertype, str(ipaddress.ip_address(packet[12:16])),
            str(ipaddress.ip_address(packet[16:20])), packet[9], packet[8], packet[20:],
        )  # fmt: skip
        if int.from_bytes(packet[6:8], "big") & 0x3FFF:
            return seen
    elif ethertype == 0x86DD:
        assert packet[0] >> 4 == 6 and int.from_bytes(packet[4:6], "big") == len(packet) - 40
        seen = Seen(
            frame, ethertype, str(ipaddress.ip_address(packet[8:24])),
            str(ipaddress.ip_address(packet[24:40])), packet[6], packet[7], packet[40:],
        )  # fmt: skip
    else:
        return Seen(frame, ethertype, payload=packet)
    _verify(seen)
    return seen


def _verify(seen: Seen) -> None:
    places = {6: 16, 17: 6, 58: 2}
    if seen.protocol == 1:
        assert rfc1071(seen.payload) == 0
    elif seen.protocol in places:
        at = places[seen.protocol]
        header = pseudo(seen.source, seen.target, seen.protocol, len(seen.payload))
        if seen.frame.checksum_start >= 0:
            assert seen.frame.checksum_start == len(seen.frame.data) - len(seen.payload)
            assert seen.frame.checksum_offset == at
            stored = int.from_bytes(seen.payload[at : at + 2], "big")
            assert stored ^ 0xFFFF == rfc1071(header) or (stored == 0 and rfc1071(header) == 0)
        else:
            assert rfc1071(header + seen.payload) == 0


class FakePort:
    """A `GuestPort` that keeps what it gets, as long as it has buffers."""

    def __init__(self, *, offloads: Offloads | None = None, mtu_bytes: int = 1500) -> None:
        self.mtu_bytes = mtu_bytes
        self.offloads = offloads or Offloads()
        self.frames: list[Frame] = []
        self.buffers: int | None = None
        """How many frames it takes yet; None: any number."""

    def receive(self, frame: Frame) -> bool:
        if self.buffers is not None:
            if self.buffers == 0:
                return False
            self.buffers -= 1
        frame.data = bytes(frame.data)
        self.frames.append(frame)
        return True

    def seen(self) -> list[Seen]:
        """What has come since the last call."""
        frames, self.frames = self.frames, []
        return [see(frame) for frame in frames]

    def seen_one(self) -> Seen:
        seen = self.seen()
        assert len(seen) == 1, seen
        return seen[0]


def frames(*packets: bytes) -> Sequence[Frame]:
    return [Frame(packet) for packet in packets]
