# SPDX-License-Identifier: Apache-2.0
"""The guest's end of one TCP connection, by hand: it does what the test says, and nothing of itself."""

from __future__ import annotations

import socket
from typing import Any

from tests.unit.network.conftest import Guest
from tests.unit.network.listener import Listener
from tests.unit.network.packets import ACK, FIN, GATEWAY, GUEST, SYN, Seen, tcp

MSS_1460 = b"\x02\x04\x05\xb4"
SCALE_7 = b"\x01\x03\x03\x07"


class GuestTcp:
    """`sequence` is the next to send, `expected` the next to come."""

    def __init__(self, guest: Guest, port: int, *, source_port: int = 40_000, target: str = GATEWAY) -> None:
        self.guest, self.port, self.source_port, self.target = guest, port, source_port, target
        self.sequence = 0xFFFF_FF00
        """Wraps soon."""
        self.expected = 0
        self.window = 0xFFFF
        self.options = MSS_1460 + SCALE_7

    def segment(self, flags: int, data: bytes = b"", *, sequence: int | None = None, **more: Any) -> bytes:
        """A segment at `sequence`, by default the next; nothing is remembered of it."""
        at = self.sequence if sequence is None else sequence
        more.setdefault("window", self.window)
        return tcp(
            GUEST, self.source_port, self.target, self.port, at, more.pop("ack", self.expected), flags, data,
            **more,
        )  # fmt: skip

    def syn(self) -> None:
        self.guest.send(self.segment(SYN, ack=0, options=self.options))

    def connect(self) -> Seen:
        """Open the connection; the SYN-ACK."""
        self.syn()
        (seen,) = self.guest.wait()
        assert seen.flags == SYN | ACK, seen
        assert seen.ack == (self.sequence + 1) & 0xFFFFFFFF
        self.sequence += 1
        self.expected = seen.sequence + 1
        self.guest.send(self.segment(ACK))
        return seen

    def send(self, data: bytes, flags: int = ACK) -> list[Seen]:
        """Send data in order; what came back at once or with the acknowledgement's delay."""
        answers = self.guest.ask(self.segment(flags, data))
        self.sequence += len(data) + bool(flags & FIN)
        if not answers:
            self.guest.loop.advance_s(0.001)
        return answers or self.guest.port.seen()

    def acknowledge(self, seen: list[Seen], flags: int = ACK) -> bytes:
        """Take data in order, acknowledge it; the data."""
        taken = b""
        for one in seen:
            if one.data:
                assert one.sequence == self.expected & 0xFFFFFFFF
                self.expected += len(one.data)
                taken += one.data
            if one.flags & FIN:
                self.expected += 1
        self.guest.send(self.segment(flags))
        return taken


def connected(guest: Guest, listener: Listener) -> tuple[GuestTcp, socket.socket]:
    """A connection from the guest to the server: both its ends."""
    client = GuestTcp(guest, listener.port)
    client.connect()
    return client, listener.accept()
