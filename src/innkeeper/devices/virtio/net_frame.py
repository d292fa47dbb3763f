# SPDX-License-Identifier: Apache-2.0
"""What a network device and the other end of its cable give each other: frames, with their offloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

ETHERNET_HEADER_BYTES = 14
FRAME_BYTES_MAX = ETHERNET_HEADER_BYTES + 4 + 65535
"""A super-frame too is one IP packet behind an Ethernet header with at most one VLAN tag."""


@dataclass(slots=True)
class Frame:
    """One Ethernet frame, or a super-frame that is yet to be cut into segments.

    The fields are those of the virtio header. Spec: virtio-1.3 5.1.6 "Device Operation".
    """

    data: bytes | bytearray | memoryview
    """Without FCS; up to FRAME_BYTES_MAX."""
    gso_type: int = 0
    """NET_HDR_GSO_*: 0 none, 1 TCPV4, 4 TCPV6, 5 UDP_L4; | 0x80 with ECN."""
    gso_size_bytes: int = 0
    """Payload of a segment (MSS)."""
    header_bytes: int = 0
    """hdr_len: Ethernet to transport header, a hint."""
    checksum_start: int = -1
    """>= 0: the checksum from here on is partial (NEEDS_CSUM), stored at +checksum_offset."""
    checksum_offset: int = 0
    checksum_valid: bool = False
    """Towards the guest: it need not verify (DATA_VALID)."""


@dataclass(frozen=True, slots=True)
class Offloads:
    """What the guest's driver accepts in frames towards it."""

    checksum: bool = False
    """Partial checksums and checksum_valid."""
    tso4: bool = False
    tso6: bool = False
    uso: bool = False
    """UDP super-frames, over both versions of IP."""


class GuestPort(Protocol):
    """The device, as a backend sees it. Machine lock held."""

    @property
    def mtu_bytes(self) -> int: ...

    @property
    def offloads(self) -> Offloads:
        """As the driver has agreed to them; may change at any time."""
        ...

    def receive(self, frame: Frame) -> bool:
        """Give a frame to the guest; False: no buffer now, keep it and wait for `receive_ready`.

        A frame that cannot be given at all (link down, no driver, too large for the guest) counts as taken.
        """
        ...


class NetBackend(Protocol):
    """The other end of the cable. Everything runs on the machine's I/O thread, with its lock held."""

    def attach(self, port: GuestPort) -> None:
        """Called once, before anything else."""
        ...

    def send(self, frames: Sequence[Frame]) -> None:
        """Frames of the guest. Their data is only valid during the call."""
        ...

    def receive_ready(self) -> None:
        """The guest has buffers again after `receive` said False."""
        ...
