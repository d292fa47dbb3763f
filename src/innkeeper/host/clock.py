# SPDX-License-Identifier: Apache-2.0
"""The host's time, the one place where it is read."""

from __future__ import annotations

import time


class HostClock:
    """Satisfies `innkeeper.machine.clock.Clock` with the host's own clocks."""

    def now_ns(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC, the clock that compiled guest code reads too."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()
