# SPDX-License-Identifier: Apache-2.0
"""The state of a network device."""

from __future__ import annotations

from dataclasses import dataclass, field

from innkeeper.devices.virtio.device import VirtioState


@dataclass
class NetState(VirtioState):
    """`sent` is what came from the guest, `received` what went to it, since the last reset.

    Bytes are those of frames, super-frames as they are. Dropped frames had no buffer, no link or no sense.
    """

    mac: bytes = bytes(6)
    link_up: bool = True
    announce: bool = False
    """The guest is asked to announce itself on the network."""
    guest_offloads: int = 0
    """Feature bits of the offloads towards the guest that are on."""
    waiting: bool = False
    """The backend has a frame that found no buffer."""
    held: list[int] = field(default_factory=list)
    """Heads of sent buffers that are yet to be returned."""
    received_frames: int = 0
    received_bytes: int = 0
    received_dropped_frames: int = 0
    sent_frames: int = 0
    sent_bytes: int = 0
    sent_dropped_frames: int = 0
