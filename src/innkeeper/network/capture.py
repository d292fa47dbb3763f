# SPDX-License-Identifier: Apache-2.0
"""Frames of network adapters into a pcapng file, for Wireshark and its like.

Frames are as they cross between guest and backend: super-frames whole, and checksums not yet computed where
that is left to whoever comes after.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from innkeeper.devices.virtio.net_frame import Frame, GuestPort, NetBackend, Offloads
from innkeeper.errors import HostError
from innkeeper.network import pcapng

_BUFFER_BYTES = 256 << 10


class WallClock(Protocol):
    """What a capture needs of the machine's clock."""

    def wall_ns(self) -> int: ...


class CaptureFile:
    """A pcapng file of several interfaces. HostError if it cannot be made.

    When it cannot be written later, `on_error(message)` hears of it once, and the capture ends there; so it
    does at `bytes_max`.
    """

    def __init__(
        self,
        path: Path,
        clock: WallClock,
        on_error: Callable[[str], None],
        *,
        bytes_max: int = 16 << 30,
    ) -> None:
        self._path, self._clock, self._on_error = path, clock, on_error
        self._left_bytes = bytes_max
        self._interfaces = 0
        self._file: BinaryIO | None = None
        try:
            # What guests say to each other is for nobody else to read.
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(fd, "wb", _BUFFER_BYTES)
        except OSError as error:
            raise HostError(f"cannot write the capture {path}: {error.strerror}") from error
        self._write(pcapng.section())

    def add_interface(self, name: str) -> int:
        """Describe one more interface; returns its number."""
        self._write(pcapng.interface(name))
        self._interfaces += 1
        return self._interfaces - 1

    def add_frame(self, interface: int, data: bytes | bytearray | memoryview, *, to_guest: bool) -> None:
        """Write a frame with the present time."""
        if self._file is not None:
            self._write(pcapng.packet(interface, data, self._clock.wall_ns(), to_guest=to_guest))

    def flush(self) -> None:
        """Hand what is buffered to the host."""
        self._guarded(lambda file: file.flush())

    def close(self) -> None:
        """Harmless when repeated."""
        self._guarded(lambda file: file.close())
        self._file = None

    def _write(self, block: bytes) -> None:
        self._left_bytes -= len(block)
        if self._left_bytes < 0 and self._file is not None:
            self.close()
            self._on_error(f"the capture {self._path} is full and ends here")
            return
        self._guarded(lambda file: file.write(block))

    def _guarded(self, work: Callable[[BinaryIO], object]) -> None:
        file = self._file
        if file is None:
            return
        try:
            work(file)
        except OSError as error:
            self._file = None
            self._on_error(f"the capture {self._path} ends here: {error.strerror}")


class CapturedNet:
    """A `NetBackend` whose frames are written to `capture` as the interface `name` on their way."""

    def __init__(self, backend: NetBackend, capture: CaptureFile, name: str) -> None:
        self._backend, self._capture = backend, capture
        self._interface = capture.add_interface(name)

    def attach(self, port: GuestPort) -> None:
        """See `NetBackend.attach`."""
        self._backend.attach(_CapturedPort(port, self._capture, self._interface))

    def send(self, frames: Sequence[Frame]) -> None:
        """See `NetBackend.send`."""
        for frame in frames:
            self._capture.add_frame(self._interface, frame.data, to_guest=False)
        self._backend.send(frames)

    def receive_ready(self) -> None:
        """See `NetBackend.receive_ready`."""
        self._backend.receive_ready()


class _CapturedPort:
    """A `GuestPort` that writes down what the guest has taken."""

    def __init__(self, port: GuestPort, capture: CaptureFile, interface: int) -> None:
        self._port, self._capture, self._interface = port, capture, interface

    @property
    def mtu_bytes(self) -> int:
        return self._port.mtu_bytes

    @property
    def offloads(self) -> Offloads:
        return self._port.offloads

    def receive(self, frame: Frame) -> bool:
        if not self._port.receive(frame):
            return False
        self._capture.add_frame(self._interface, frame.data, to_guest=True)
        return True
