# SPDX-License-Identifier: Apache-2.0
"""Ethernet frames: their header, and who is who on the cable between guest and NAT."""

from __future__ import annotations

import struct

HEADER = struct.Struct("!6s6sH")
HEADER_BYTES = HEADER.size
GATEWAY_MAC = bytes.fromhex("52550a000202")
"""Ours, for every address that the NAT answers for; the same as that of QEMU's user network."""


def is_unicast(mac: bytes) -> bool:
    """Whether `mac` can be the address of one network card."""
    return not mac[0] & 1 and any(mac)


def multicast_mac(group: bytes) -> bytes:
    """The address for frames to the IPv6 multicast address `group`. Spec: RFC 2464 7."""
    return b"\x33\x33" + group[12:]
