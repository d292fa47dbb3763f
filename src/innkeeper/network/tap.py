# SPDX-License-Identifier: Apache-2.0
"""A network adapter on a TAP interface of the host: the guest is on a network of its owner's choice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from innkeeper.devices.virtio import net_header
from innkeeper.devices.virtio.net_frame import Frame, GuestPort, Offloads
from innkeeper.network.event_loop import EventLoop
from innkeeper.spec.virtio import NET_HEADER_BYTES

_FRAMES_PER_TURN = 32
"""After so many from the host others get a turn of the loop."""


class TapDevice(Protocol):
    """What the backend needs of `innkeeper.host.tap.Tap`."""

    @property
    def fd(self) -> int: ...

    def set_offloads(self, *, checksum: bool, tso4: bool, tso6: bool) -> None: ...

    def close(self) -> None: ...


class TapBackend:
    """Satisfies `NetBackend` over `tap`, which it owns. What the host has no room for is dropped."""

    def __init__(self, loop: EventLoop, tap: TapDevice) -> None:
        self._loop = loop
        self._tap = tap
        self._port: GuestPort | None = None
        self._offloads: Offloads | None = None
        self._buffer = memoryview(bytearray(net_header.PACKET_BYTES_MAX + 1))
        self._kept: Frame | None = None
        """Read from the host, in `_buffer`, while the guest has no room for it."""
        self.dropped_frames = 0

    def attach(self, port: GuestPort) -> None:
        """See `NetBackend.attach`."""
        self._port = port
        self._loop.add_reader(self._tap.fd, self._readable)

    def send(self, frames: Sequence[Frame]) -> None:
        """See `NetBackend.send`."""
        fd = self._tap.fd
        for frame in frames:
            try:
                os.writev(fd, (net_header.pack(frame), frame.data))
            except OSError:  # EAGAIN: its queue is full; EIO: it is down; EINVAL: no frame that it could pass
                self.dropped_frames += 1

    def receive_ready(self) -> None:
        """See `NetBackend.receive_ready`."""
        frame, self._kept = self._kept, None
        if frame is not None and self._give(frame):
            self._loop.add_reader(self._tap.fd, self._readable)

    def close(self) -> None:
        """Pull the cable out."""
        self._loop.remove_reader(self._tap.fd)
        self._tap.close()

    def _readable(self) -> None:
        self._follow_offloads()
        for _ in range(_FRAMES_PER_TURN):
            try:
                count = os.readv(self._tap.fd, (self._buffer,))
            except BlockingIOError:
                return
            except OSError:  # the interface is down or was removed
                self._loop.remove_reader(self._tap.fd)
                return
            frame = net_header.unpack(self._buffer, self._buffer[NET_HEADER_BYTES:count])
            if frame is None:
                self.dropped_frames += 1
            elif not self._give(frame):
                self._loop.remove_reader(self._tap.fd)
                return

    def _give(self, frame: Frame) -> bool:
        if self._port is None or self._port.receive(frame):
            return True
        self._kept = frame
        return False

    def _follow_offloads(self) -> None:
        """Let the host leave undone what the guest's driver has agreed to do."""
        offloads = self._port.offloads if self._port is not None else Offloads()
        if offloads != self._offloads:
            self._offloads = offloads
            self._tap.set_offloads(checksum=offloads.checksum, tso4=offloads.tso4, tso6=offloads.tso6)
