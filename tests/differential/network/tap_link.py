# SPDX-License-Identifier: Apache-2.0
"""A cable between a kernel in a namespace and our NAT, which may lose, double and reorder frames."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from innkeeper.devices.virtio.net_frame import Frame, Offloads
from innkeeper.host.clock import HostClock
from innkeeper.machine.io_loop import IoLoop
from innkeeper.network.nat import UserNet

GUEST_MAC = bytes.fromhex("525400123456")
_HEADER = struct.Struct("<BBHHHHH")
_NEEDS_CHECKSUM, _DATA_VALID = 1, 2
_READS_MAX = 64
_HELD_NS = 3_000_000


class Weather:
    """What may happen to a frame on its way, each with its probability."""

    def __init__(self, rng: random.Random, *, lost: float = 0, doubled: float = 0, late: float = 0) -> None:
        self._rng, self._lost, self._doubled, self._late = rng, lost, doubled, late

    def passes(self) -> int:
        """How often the next frame arrives: 0, 1 or 2 times."""
        if self._rng.random() < self._lost:
            return 0
        return 2 if self._rng.random() < self._doubled else 1

    def is_late(self) -> bool:
        """Whether the next frame is overtaken by others."""
        return self._rng.random() < self._late


class TapPort:
    """A `GuestPort` whose guest is the kernel behind a TAP device."""

    def __init__(
        self, loop: IoLoop, tap: int, mtu_bytes: int, offloads: bool, weather: Weather | None
    ) -> None:
        self.mtu_bytes = mtu_bytes
        self.offloads = Offloads(offloads, offloads, offloads) if offloads else Offloads()
        self._loop, self._tap, self._weather = loop, tap, weather
        self._send: Callable[[list[Frame]], None] = lambda frames: None
        self._buffer = bytearray(1 << 17)
        self.received_frames = 0

    def connect(self, send: Callable[[list[Frame]], None]) -> None:
        self._send = send
        self._loop.add_reader(self._tap, self._readable)

    def receive(self, frame: Frame) -> bool:
        flags = _NEEDS_CHECKSUM if frame.checksum_start >= 0 else 0
        if frame.checksum_valid and self.offloads.checksum:
            flags |= _DATA_VALID
        header = _HEADER.pack(
            flags, frame.gso_type, frame.header_bytes, frame.gso_size_bytes,
            max(frame.checksum_start, 0), frame.checksum_offset, 0,
        )  # fmt: skip
        data = header + bytes(frame.data)
        self._disturb(data, self._write)
        return True

    def _write(self, data: bytes) -> None:
        self.received_frames += 1
        os.write(self._tap, data)

    def _readable(self) -> None:
        frames = []
        for _ in range(_READS_MAX):
            try:
                data = os.read(self._tap, 1 << 17)
            except BlockingIOError:
                break
            if self._weather is None:
                frames.append(_frame(data))
            else:
                self._disturb(data, lambda data: self._send([_frame(data)]))
        if frames:
            self._send(frames)

    def _disturb(self, data: bytes, arrive: Callable[[bytes], None]) -> None:
        if self._weather is None:
            arrive(data)
            return
        for _ in range(self._weather.passes()):
            if self._weather.is_late():
                at_ns = self._loop.clock.now_ns() + _HELD_NS
                self._loop.call_at(at_ns, lambda: arrive(data))
            else:
                arrive(data)


def _frame(data: bytes) -> Frame:
    flags, gso_type, header_bytes, gso_size, start, offset, _ = _HEADER.unpack_from(data)
    frame = Frame(memoryview(data)[_HEADER.size :], gso_type, gso_size, header_bytes)
    if flags & _NEEDS_CHECKSUM:
        frame.checksum_start, frame.checksum_offset = start, offset
    return frame


class TapGuest:
    """The kernel as guest of a `UserNet` that `make` makes. Close it."""

    def __init__(
        self,
        make: Callable[[IoLoop], UserNet],
        *,
        mtu_bytes: int = 1500,
        offloads: bool = True,
        weather: Weather | None = None,
    ) -> None:
        self.errors: list[BaseException] = []
        self.lock = threading.RLock()
        self.loop = IoLoop(self.lock, HostClock(), self.errors.append)
        ours, theirs = socket.socketpair()
        options = {"mtu_bytes": mtu_bytes, "offloads": offloads, "mac": GUEST_MAC.hex(":")}
        program = "tests.differential.network.namespace_peer"
        self._process = subprocess.Popen(
            [sys.executable, "-m", program, str(theirs.fileno()), json.dumps(options)],
            cwd=Path(__file__).parents[3],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._control = ours
        _, fds, _, _ = socket.recv_fds(ours, 16, 1)
        if not fds:
            raise OSError(f"the namespace's process ended with {self._process.wait(10)}")
        self._tap = fds[0]
        os.set_blocking(self._tap, False)
        self._lines = ours.makefile("rw", encoding="utf-8")
        self.port = TapPort(self.loop, self._tap, mtu_bytes, offloads, weather)
        self.net = make(self.loop)
        self.net.attach(self.port)
        self.port.connect(self.net.send)
        self.loop.start()

    def start(self, do: str, **arguments: Any) -> None:
        """Ask the guest for something; `result` waits for it."""
        self._lines.write(json.dumps({"do": do, **arguments}) + "\n")
        self._lines.flush()

    def result(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._lines.readline())
        assert "failed" not in answer, answer
        return answer

    def do(self, do: str, **arguments: Any) -> dict[str, Any]:
        self.start(do, **arguments)
        return self.result()

    def close(self) -> None:
        self._control.shutdown(socket.SHUT_RDWR)
        self._process.kill()
        self._process.wait()
        self.loop.stop()
        with self.lock:
            self.net.close()
        os.close(self._tap)
        self._lines.close()
        self._control.close()
        raise_first(self.errors)


def raise_first(errors: Iterable[BaseException]) -> None:
    """Nothing may have escaped from a callback."""
    for error in errors:
        raise error
