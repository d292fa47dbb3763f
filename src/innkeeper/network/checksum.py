# SPDX-License-Identifier: Apache-2.0
"""The internet checksum. Spec: RFC 1071 "Computing the Internet Checksum"."""

from __future__ import annotations

Bytes = bytes | bytearray | memoryview


def fold(total: int) -> int:
    """`total` >= 0 as a ones' complement sum of 16 bits."""
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ones_sum(data: Bytes) -> int:
    """The ones' complement sum of the big-endian 16-bit words of `data`, an odd last byte padded with zero.

    2**16 is 1 modulo 65535, so the sum is the number that the bytes are, modulo 65535; Python finds that
    without a loop over words. Zero and 65535 are the same number; only a sum of zeros is 0.
    """
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    rest = number % 0xFFFF
    return 0xFFFF if rest == 0 and number else rest


def checksum(*parts: Bytes) -> int:
    """The checksum to store over `parts`, each but the last of even length. 0 if they hold a right one."""
    return fold(sum(map(ones_sum, parts))) ^ 0xFFFF


def pseudo_sum(source: bytes, target: bytes, protocol: int, transport_bytes: int) -> int:
    """The folded sum of the pseudo-header, for IPv4 and IPv6 alike.

    Spec: RFC 9293 3.1 and RFC 8200 8.1 "Upper-Layer Checksums".
    """
    return fold(ones_sum(source) + ones_sum(target) + protocol + transport_bytes)
