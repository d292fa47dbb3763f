# SPDX-License-Identifier: Apache-2.0
"""The addresses between one guest and its NAT: those that QEMU's users know, and their like in IPv6."""

from __future__ import annotations

import functools
import ipaddress
import socket
from dataclasses import dataclass

UNSPECIFIED4, UNSPECIFIED6 = bytes(4), bytes(16)
BROADCAST4 = b"\xff" * 4
ALL_NODES6 = ipaddress.IPv6Address("ff02::1").packed


def _packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def text_of(address: bytes) -> str:
    """A packed address of 4 or 16 bytes as people write it."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


@dataclass(frozen=True)
class Subnet:
    """Packed addresses. Every guest has the same: nothing outside its own NAT ever sees them."""

    network4: bytes = _packed("10.0.2.0")
    prefix4_bits: int = 24
    gateway4: bytes = _packed("10.0.2.2")
    dns4: bytes = _packed("10.0.2.3")
    guest4: bytes = _packed("10.0.2.15")
    prefix6: bytes = _packed("fd00:a:0:2::")
    """A unique local /64; the guest makes its own address in it (SLAAC)."""
    gateway6: bytes = _packed("fd00:a:0:2::2")
    dns6: bytes = _packed("fd00:a:0:2::3")
    router6: bytes = _packed("fe80::2")
    """The gateway's link-local address, which router advertisements come from."""
    leads_out: bool = True
    """Whether guests are told to send what is not on the cable to the gateway."""

    @functools.cached_property
    def netmask4(self) -> bytes:
        return ((1 << 32) - (1 << (32 - self.prefix4_bits))).to_bytes(4, "big")

    @functools.cached_property
    def broadcast4(self) -> bytes:
        host_mask = (1 << (32 - self.prefix4_bits)) - 1
        return (int.from_bytes(self.network4, "big") | host_mask).to_bytes(4, "big")

    def contains(self, address: bytes) -> bool:
        """Whether `address` is on the cable: of the subnet, or link-local in IPv6."""
        if len(address) == 4:
            shift = 32 - self.prefix4_bits
            return int.from_bytes(address, "big") >> shift == int.from_bytes(self.network4, "big") >> shift
        return address[:8] == self.prefix6[:8] or is_link_local6(address)

    def is_gateway(self, address: bytes) -> bool:
        return address in (self.gateway4, self.gateway6, self.router6)

    def is_dns(self, address: bytes) -> bool:
        return address in (self.dns4, self.dns6)

    def is_ours(self, address: bytes) -> bool:
        """Whether the NAT itself answers for `address`."""
        return self.is_gateway(address) or self.is_dns(address)

    def may_send(self, address: bytes) -> bool:
        """Whether a guest may use `address` as its source: on the cable, one host's, and not one of ours."""
        if len(address) == 4 and address in (self.network4, self.broadcast4):
            return False
        return self.contains(address) and not self.is_ours(address)


def is_link_local6(address: bytes) -> bool:
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def is_multicast(address: bytes) -> bool:
    """Whether `address` is a group's, or IPv4's limited broadcast."""
    if len(address) == 4:
        return 0xE0 <= address[0] <= 0xEF or address == BROADCAST4
    return address[0] == 0xFF
