# SPDX-License-Identifier: Apache-2.0
"""The other end of a network device's cable, for tests, and a frame to send over it."""

from innkeeper.devices.virtio.net_frame import Frame

MAC = bytes.fromhex("525400123456")
HEADER = bytes(12)
FRAME = MAC + MAC + b"\x08\x00" + bytes(range(100))


class Wire:
    """A backend that records frames and lets the test answer."""

    def __init__(self) -> None:
        self.sent: list[Frame] = []
        self.batches: list[int] = []
        self.ready = 0

    def attach(self, port) -> None:
        self.port = port

    def send(self, frames) -> None:
        self.batches.append(len(frames))
        for frame in frames:
            frame.data = bytes(frame.data)
            self.sent.append(frame)

    def receive_ready(self) -> None:
        self.ready += 1
