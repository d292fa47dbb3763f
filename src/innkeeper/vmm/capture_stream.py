# SPDX-License-Identifier: Apache-2.0
"""A client of `capture`: frames of a VM's adapters as pcapng. Lock held."""

from __future__ import annotations

from collections.abc import Sequence

from innkeeper.api.frames import FrameKind, encode_data
from innkeeper.machine.clock import Clock
from innkeeper.network import pcapng
from innkeeper.vmm.connection import Connection
from innkeeper.vmm.plugs import NetPlug

WAITING_BYTES_MAX = 2 << 20
"""A client that has more to read misses frames: the guest does not wait for it."""


class CaptureStream:
    """`cables`: name and plug of each adapter, which become the interfaces of the file."""

    def __init__(self, connection: Connection, cables: Sequence[tuple[str, NetPlug]], clock: Clock) -> None:
        self._connection, self._cables, self._clock = connection, cables, clock
        self._watchers = [_Watcher(self, number) for number in range(len(cables))]

    def begin(self) -> None:
        """After the answer."""
        head = pcapng.section() + b"".join(pcapng.interface(name) for name, _ in self._cables)
        self._connection.send(encode_data(FrameKind.STDOUT, head))
        for (_, plug), watcher in zip(self._cables, self._watchers, strict=True):
            plug.watch(watcher)
        self._connection.begin_stream(self)

    def add(self, number: int, data: bytes | bytearray | memoryview, *, to_guest: bool) -> None:
        """A frame has crossed at interface `number`."""
        if self._connection.waiting_bytes < WAITING_BYTES_MAX:
            block = pcapng.packet(number, data, self._clock.wall_ns(), to_guest=to_guest)
            self._connection.send(encode_data(FrameKind.STDOUT, block))

    def frame(self, kind: FrameKind, payload: bytes) -> None:
        """See `connection.Stream`, as for the methods below. A client has nothing to say."""

    def passed_on(self, size_bytes: int) -> None:
        """The guest does not wait for its watchers."""

    def client_gone(self) -> None:
        """Nobody watches any more."""
        for (_, plug), watcher in zip(self._cables, self._watchers, strict=True):
            plug.unwatch(watcher)


class _Watcher:
    """One cable of a capture. Satisfies `FrameWatcher`."""

    def __init__(self, stream: CaptureStream, number: int) -> None:
        self._stream, self._number = stream, number

    def frame(self, data: bytes | bytearray | memoryview, *, to_guest: bool) -> None:
        self._stream.add(self._number, data, to_guest=to_guest)
