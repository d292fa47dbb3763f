# SPDX-License-Identifier: Apache-2.0
"""Plugs between devices and what is behind them, which is another after a fork."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from innkeeper.devices.virtio.block import DiskBackend
from innkeeper.devices.virtio.net_frame import Frame, GuestPort, NetBackend, Offloads

HELD_MAX = 32
"""Frames that wait at most, before the other end is made at once."""


class DiskPlug:
    """A disk that can be replaced by a copy of itself. Satisfies `DiskBackend`."""

    def __init__(self, disk: DiskBackend) -> None:
        self.disk = disk

    @property
    def size_bytes(self) -> int:
        return self.disk.size_bytes

    @property
    def read_only(self) -> bool:
        return self.disk.read_only

    def readv(self, offset_bytes: int, buffers: Sequence[memoryview]) -> None:
        """See `DiskBackend`, as for the methods below."""
        self.disk.readv(offset_bytes, buffers)

    def writev(self, offset_bytes: int, buffers: Sequence[memoryview]) -> None:
        self.disk.writev(offset_bytes, buffers)

    def flush(self) -> None:
        self.disk.flush()

    def discard(self, offset_bytes: int, length_bytes: int) -> None:
        self.disk.discard(offset_bytes, length_bytes)

    def write_zeroes(self, offset_bytes: int, length_bytes: int) -> None:
        self.disk.write_zeroes(offset_bytes, length_bytes)


class FrameWatcher(Protocol):
    """Who sees the frames of a cable."""

    def frame(self, data: bytes | bytearray | memoryview, *, to_guest: bool) -> None:
        """One that the guest has sent or taken; `data` is only valid during the call."""


class PluggedPort:
    """The device as the backend sees it. Satisfies `GuestPort`; unwatched it costs nothing for each frame."""

    def __init__(self, device: GuestPort) -> None:
        self._device = device
        self.receive: Callable[[Frame], bool] = device.receive

    @property
    def mtu_bytes(self) -> int:
        return self._device.mtu_bytes

    @property
    def offloads(self) -> Offloads:
        return self._device.offloads


class NetPlug:
    """The end of a network cable, which can be plugged in elsewhere, and watched. Satisfies `NetBackend`.

    `connect` makes the other end: before the guest's first frame, or at once if `now`. With `postpone`, which
    calls what it is given a little later, first frames wait until then: the other end takes time to make.
    """

    def __init__(
        self,
        connect: Callable[[], NetBackend],
        now: bool,
        postpone: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._connect = connect
        self._postpone = postpone
        self._held: list[Frame] = []
        self._backend = connect() if now else None
        self._device: GuestPort | None = None
        self._port: PluggedPort | None = None
        self._watchers: list[FrameWatcher] = []

    @property
    def device(self) -> GuestPort | None:
        """What the cable is plugged into."""
        return self._device

    def attach(self, port: GuestPort) -> None:
        """See `NetBackend`, as for the methods below."""
        self._device, self._port = port, PluggedPort(port)
        if self._backend is not None:
            self._backend.attach(self._port)

    def send(self, frames: Sequence[Frame]) -> None:
        for watcher in self._watchers:
            for frame in frames:
                watcher.frame(frame.data, to_guest=False)
        if self._backend is None and self._postpone is not None and len(self._held) < HELD_MAX:
            if not self._held:
                self._postpone(self._end_hold)
            self._held += [replace(frame, data=bytes(frame.data)) for frame in frames]
        else:
            self.connected().send(frames)

    def _end_hold(self) -> None:
        self.connected()

    def receive_ready(self) -> None:
        if self._backend is not None:
            self._backend.receive_ready()

    def connected(self) -> NetBackend:
        """The other end, made now if it is not there yet."""
        if self._backend is None:
            self._backend = self._connect()
            if self._port is not None:
                self._backend.attach(self._port)
            held, self._held = self._held, []
            if held:
                self._backend.send(held)
        return self._backend

    def plug_into(self, connect: Callable[[], NetBackend], now: bool) -> None:
        """From now on the guest's frames go there. The former one is closed by who made it."""
        self._connect = connect
        self._backend = connect() if now else None
        self._held.clear()
        self._watchers.clear()
        if self._device is not None:
            self._port = PluggedPort(self._device)
        if self._backend is not None and self._port is not None:
            self._backend.attach(self._port)

    def watch(self, watcher: FrameWatcher) -> None:
        """Show `watcher` each frame, until `unwatch`."""
        self._watchers.append(watcher)
        if self._port is not None:
            self._port.receive = self._receive_watched

    def unwatch(self, watcher: FrameWatcher) -> None:
        """Harmless for one that does not watch."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)
        if not self._watchers and self._port is not None and self._device is not None:
            self._port.receive = self._device.receive

    def _receive_watched(self, frame: Frame) -> bool:
        if self._device is None or not self._device.receive(frame):
            return False
        for watcher in tuple(self._watchers):
            watcher.frame(frame.data, to_guest=True)
        return True
