# SPDX-License-Identifier: Apache-2.0
"""What is run, and what runs it: our machine or a peer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

CodeCacheState = Literal["", "cold", "warm"]
"""Where a measurement says what the optimising tier has compiled before: nothing, or the same workloads."""


@dataclass(frozen=True)
class GuestRun:
    """One boot: the files, the machine and the command. The same for every side."""

    image: str
    """Name in the image catalog; a side may know it by that."""
    kernel: Path
    initrd: bytes
    """The image's archive with the workloads appended, without a command."""
    append: str
    root_disk: Path | None
    """Never written: each side puts a throw-away overlay over it."""
    command: Sequence[str]
    cpus: int
    memory_bytes: int
    timeout_s: float
    network: bool = False
    """Whether it has a network adapter on the side's user network, with the host's loopback at 10.0.2.2."""


@dataclass(frozen=True)
class TimedLine:
    """A line of the command's standard output, and when it came: nanoseconds of the host since power-on."""

    text: str
    since_start_ns: int


class Side(Protocol):
    """Something that runs guests."""

    name: str
    version: str
    code_cache: CodeCacheState

    def run(self, guest: GuestRun, on_line: Callable[[TimedLine], None]) -> None:
        """Boot, hand over each line of the command's standard output as it comes, return once powered off.

        InnkeeperError if that fails. Power-on is when this is called.
        """


@dataclass(frozen=True)
class Sides:
    """Who takes part. `cold` is ours too, where `ours` has a filled code cache; `native` is the bare host."""

    ours: Side
    peer: Side | None = None
    cold: Side | None = None
    native: Side | None = None

    def all(self) -> list[Side]:
        """Those that there are, in this order."""
        return [side for side in (self.ours, self.peer, self.cold, self.native) if side is not None]


class NanosecondClock(Protocol):
    """The host's monotonic clock."""

    def now_ns(self) -> int: ...


class LineSplitter:
    """Cuts a stream of bytes into lines and times each by when its end came."""

    def __init__(self, clock: NanosecondClock, start_ns: int, on_line: Callable[[TimedLine], None]) -> None:
        self._clock = clock
        self._start_ns = start_ns
        self._on_line = on_line
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        since_start_ns = self._clock.now_ns() - self._start_ns
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._on_line(TimedLine(line.decode(errors="replace").rstrip("\r"), since_start_ns))
