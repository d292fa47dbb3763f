# SPDX-License-Identifier: Apache-2.0
"""TCP headers: options of a SYN read, and whole Ethernet, IP and TCP headers of a connection written.

Spec: RFC 9293 3.1 "Header Format".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from innkeeper.network import ethernet, ipv4, ipv6
from innkeeper.network.checksum import fold, ones_sum, pseudo_sum
from innkeeper.spec.internet import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    PROTOCOL_TCP,
    TCP_CHECKSUM_OFFSET,
    TCP_HEADER_BYTES,
    TCP_MSS_DEFAULT,
    TCP_OPTION_END,
    TCP_OPTION_MSS,
    TCP_OPTION_NOP,
    TCP_OPTION_WINDOW_SCALE,
    TCP_WINDOW_SCALE_MAX,
)

HEADER = struct.Struct("!HHIIHHHH")
"""Source port, target port, sequence, acknowledgement, data offset and flags, window, checksum, urgent."""
SEQUENCE_MASK = 0xFFFF_FFFF
_MSS_MIN = 64
_CHECKSUM = struct.Struct("!H")
# Ethernet, version, class; total length; identification to protocol; checksum; addresses, ports.
_IPV4 = struct.Struct("!16sH6sH12sIIHHHH")
# Ethernet, version, class and flow; payload length; next header, hop limit, addresses and ports.
_IPV6 = struct.Struct("!18sH38sIIHHHH")


@dataclass(frozen=True, slots=True)
class SynOptions:
    """What a SYN offers; `window_scale` None: no scaling."""

    mss_bytes: int = TCP_MSS_DEFAULT
    window_scale: int | None = None


def parse_syn_options(options: memoryview) -> SynOptions:
    """Read the options of a SYN; what is damaged or unknown is skipped. Spec: RFC 9293 3.2, RFC 7323 2."""
    mss_bytes, window_scale = TCP_MSS_DEFAULT, None
    at = 0
    while at < len(options) and options[at] != TCP_OPTION_END:
        if options[at] == TCP_OPTION_NOP:
            at += 1
            continue
        if at + 1 >= len(options) or not 2 <= options[at + 1] <= len(options) - at:
            break
        kind, size_bytes = options[at], options[at + 1]
        if kind == TCP_OPTION_MSS and size_bytes == 4:
            mss_bytes = max(_MSS_MIN, int.from_bytes(options[at + 2 : at + 4], "big"))
        elif kind == TCP_OPTION_WINDOW_SCALE and size_bytes == 3:
            window_scale = min(options[at + 2], TCP_WINDOW_SCALE_MAX)
        at += size_bytes
    return SynOptions(mss_bytes, window_scale)


def syn_options(mss_bytes: int, window_scale: int | None) -> bytes:
    """The options of our own SYN, padded to whole words."""
    options = struct.pack("!BBH", TCP_OPTION_MSS, 4, min(mss_bytes, 0xFFFF))
    if window_scale is not None:
        options += bytes((TCP_OPTION_NOP, TCP_OPTION_WINDOW_SCALE, 3, window_scale))
    return options


class HeaderWriter:
    """Writes the headers of segments from `source` to `target`, whose checksums are then partial.

    Everything that stays the same in a connection is computed once.
    """

    __slots__ = ("_checksum_base", "_fixed", "_is_v4", "_prefix", "_pseudo_base", "size_bytes", "tcp_start")

    def __init__(
        self, target_mac: bytes, source: bytes, source_port: int, target: bytes, target_port: int
    ) -> None:
        self._is_v4 = len(source) == 4
        addresses = source + target + source_port.to_bytes(2, "big") + target_port.to_bytes(2, "big")
        self._pseudo_base = pseudo_sum(source, target, PROTOCOL_TCP, 0)
        if self._is_v4:
            ethertype = ETHERTYPE_IPV4
            first, middle = b"\x45\0", bytes((0, 0, 0x40, 0, 64, PROTOCOL_TCP))
            self._fixed = (middle, addresses)
            self._checksum_base = ones_sum(first) + ones_sum(middle) + ones_sum(addresses[:8])
            self.size_bytes = _IPV4.size
        else:
            ethertype = ETHERTYPE_IPV6
            first = (6 << 28).to_bytes(4, "big")
            self._fixed = (bytes((PROTOCOL_TCP, 64)) + addresses, b"")
            self._checksum_base = 0
            self.size_bytes = _IPV6.size
        self._prefix = ethernet.HEADER.pack(target_mac, ethernet.GATEWAY_MAC, ethertype) + first
        self.tcp_start = self.size_bytes - TCP_HEADER_BYTES

    def aim(self, target_mac: bytes) -> None:
        """From now on send to `target_mac`."""
        self._prefix = target_mac + self._prefix[len(target_mac) :]

    @classmethod
    def answering(cls, target_mac: bytes, key: bytes) -> HeaderWriter:
        """For segments against those whose addresses and ports, source first, are `key`."""
        half = (len(key) - 4) // 2
        source_port, target_port = int.from_bytes(key[-2:], "big"), int.from_bytes(key[-4:-2], "big")
        return cls(target_mac, key[half:-4], source_port, key[:half], target_port)

    def write(
        self,
        buffer: bytearray,
        start: int,
        payload_bytes: int,
        sequence: int,
        acknowledgement: int,
        flags: int,
        window: int,
        header_words: int = 5,
    ) -> None:
        """Write `size_bytes` at `start`. `payload_bytes` counts options too, `header_words` says so."""
        tcp_bytes = TCP_HEADER_BYTES + payload_bytes
        pseudo = self._pseudo_base + tcp_bytes
        pseudo = (pseudo & 0xFFFF) + (pseudo >> 16)
        offset_flags = header_words << 12 | flags
        if self._is_v4:
            total_bytes = ipv4.HEADER_BYTES + tcp_bytes
            _IPV4.pack_into(
                buffer, start, self._prefix, total_bytes, self._fixed[0],
                fold(self._checksum_base + total_bytes) ^ 0xFFFF, self._fixed[1],
                sequence & SEQUENCE_MASK, acknowledgement & SEQUENCE_MASK, offset_flags, window, pseudo, 0,
            )  # fmt: skip
        else:
            _IPV6.pack_into(
                buffer, start, self._prefix, tcp_bytes, self._fixed[0],
                sequence & SEQUENCE_MASK, acknowledgement & SEQUENCE_MASK, offset_flags, window, pseudo, 0,
            )  # fmt: skip

    def complete(self, frame: bytearray | memoryview) -> None:
        """Make the partial checksum of the frame a full one, for guests that want it so."""
        total = ones_sum(frame[self.tcp_start :])
        _CHECKSUM.pack_into(frame, self.tcp_start + TCP_CHECKSUM_OFFSET, fold(total) ^ 0xFFFF)


IPV6_PAYLOAD_MAX = ipv6.PAYLOAD_BYTES_MAX - TCP_HEADER_BYTES
IPV4_PAYLOAD_MAX = ipv4.PACKET_BYTES_MAX - ipv4.HEADER_BYTES - TCP_HEADER_BYTES
