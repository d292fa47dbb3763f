# SPDX-License-Identifier: Apache-2.0
"""The two simplest ends of a network cable."""

from __future__ import annotations

from collections.abc import Sequence

from innkeeper.devices.virtio.net_frame import Frame, GuestPort


class NullNet:
    """A cable that ends in nothing. Satisfies `NetBackend`."""

    def attach(self, port: GuestPort) -> None:
        """Nothing is ever given to the guest."""

    def send(self, frames: Sequence[Frame]) -> None:
        """The frames are gone."""

    def receive_ready(self) -> None:
        """Nothing waits."""


class LoopbackNet:
    """A plug that returns every frame to the guest that sent it, or loses it. Satisfies `NetBackend`."""

    def __init__(self) -> None:
        self._port: GuestPort | None = None

    def attach(self, port: GuestPort) -> None:
        """See `NetBackend.attach`."""
        self._port = port

    def send(self, frames: Sequence[Frame]) -> None:
        """Return what the guest has buffers for."""
        for frame in frames:
            if self._port is not None:
                self._port.receive(frame)

    def receive_ready(self) -> None:
        """Nothing waits."""
