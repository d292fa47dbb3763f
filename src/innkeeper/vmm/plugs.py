# SPDX-License-Identifier: Apache-2.0
"""Plugs between devices and what is behind them, which is another after a fork."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from innkeeper.devices.virtio.block import DiskBackend
from innkeeper.devices.virtio.net_frame import Frame, GuestPort, NetBackend


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


class NetPlug:
    """The end of a network cable, which can be plugged in elsewhere. Satisfies `NetBackend`.

    `connect` makes the other end: before the guest's first frame, or at once if `now`.
    """

    def __init__(self, connect: Callable[[], NetBackend], now: bool) -> None:
        self._connect = connect
        self._backend = connect() if now else None
        self._port: GuestPort | None = None

    def attach(self, port: GuestPort) -> None:
        """See `NetBackend`, as for the methods below."""
        self._port = port
        if self._backend is not None:
            self._backend.attach(port)

    def send(self, frames: Sequence[Frame]) -> None:
        if self._backend is None:
            self._backend = self._connect()
            if self._port is not None:
                self._backend.attach(self._port)
        self._backend.send(frames)

    def receive_ready(self) -> None:
        if self._backend is not None:
            self._backend.receive_ready()

    def plug_into(self, connect: Callable[[], NetBackend], now: bool) -> None:
        """From now on the guest's frames go there. The former one is closed by who made it."""
        self._connect = connect
        self._backend = connect() if now else None
        if self._backend is not None and self._port is not None:
            self._backend.attach(self._port)
