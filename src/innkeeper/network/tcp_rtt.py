# SPDX-License-Identifier: Apache-2.0
"""When to send a segment again. Spec: RFC 6298 "Computing TCP's Retransmission Timer"."""

from __future__ import annotations

_NS_PER_MS = 1_000_000
INITIAL_NS = 1000 * _NS_PER_MS
MIN_NS = 200 * _NS_PER_MS
"""Below the second of RFC 6298 (2.4), as Linux does: the cable is memory."""
MAX_NS = 60_000 * _NS_PER_MS


class RetransmissionTimeout:
    """The time-out of one connection, from measured round trips."""

    __slots__ = ("_backoff", "_smoothed_ns", "_timeout_ns", "_variation_ns")

    def __init__(self) -> None:
        self._smoothed_ns: int | None = None
        self._variation_ns = 0
        self._timeout_ns = INITIAL_NS
        self._backoff = 0

    @property
    def timeout_ns(self) -> int:
        return min(self._timeout_ns << self._backoff, MAX_NS)

    def measured(self, round_trip_ns: int) -> None:
        """Take in a round trip of a segment that was sent once (Karn's algorithm)."""
        if self._smoothed_ns is None:
            self._smoothed_ns, self._variation_ns = round_trip_ns, round_trip_ns // 2
        else:
            error_ns = abs(self._smoothed_ns - round_trip_ns)
            self._variation_ns = (3 * self._variation_ns + error_ns) // 4
            self._smoothed_ns = (7 * self._smoothed_ns + round_trip_ns) // 8
        self._timeout_ns = min(max(MIN_NS, self._smoothed_ns + 4 * self._variation_ns), MAX_NS)

    def expired(self) -> None:
        """The time-out passed without an answer: wait twice as long for the next (5.5)."""
        if self._timeout_ns << self._backoff < MAX_NS:
            self._backoff += 1

    def answered(self) -> None:
        """New data was acknowledged."""
        self._backoff = 0
