# SPDX-License-Identifier: Apache-2.0
"""Time as the machine sees it: a `Clock` that is handed in."""

from __future__ import annotations

from typing import Protocol

from innkeeper.spec.board import TIMEBASE_HZ

NS_PER_TICK = 1_000_000_000 // TIMEBASE_HZ


class Clock(Protocol):
    """The host's clock (`innkeeper.host.clock.HostClock`) or a virtual one."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary moment; never goes back."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""


class VirtualClock:
    """A clock that moves only when told: by the round-robin scheduler, or by a test."""

    def __init__(self, start_ns: int = 0, wall_start_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._wall_offset_ns = wall_start_ns - start_ns

    def now_ns(self) -> int:
        """Nanoseconds since the clock was made, plus `start_ns`."""
        return self._now_ns

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC, as `wall_start_ns` said."""
        return self._now_ns + self._wall_offset_ns

    def advance_ns(self, elapsed_ns: int) -> None:
        """Let `elapsed_ns` >= 0 pass."""
        if elapsed_ns < 0:
            raise ValueError(f"time cannot go back by {-elapsed_ns} ns")
        self._now_ns += elapsed_ns
