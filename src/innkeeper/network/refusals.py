# SPDX-License-Identifier: Apache-2.0
"""A log of what policy refused, bounded in length and in how often it tells somebody."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from innkeeper.network.limits import Clock, TokenBucket

_TELL_PER_S = 10
_TELL_BURST = 50


@dataclass(frozen=True, slots=True)
class Refusal:
    """One attempt. `time_ns` is of the machine's clock, `names` those that the guest was told."""

    time_ns: int
    protocol: str
    address: str
    port: int
    names: tuple[str, ...]
    reason: str


class RefusalLog:
    """Keeps the last `entries_max`; `on_refused` hears of at most 10 a second, once if one repeats."""

    def __init__(
        self, clock: Clock, entries_max: int, on_refused: Callable[[Refusal], None] | None = None
    ) -> None:
        self._clock, self._on_refused = clock, on_refused
        self.entries: deque[Refusal] = deque(maxlen=entries_max)
        self.total = 0
        self._rate = TokenBucket(clock, _TELL_PER_S, _TELL_BURST)
        self._last: tuple[str, str, int] | None = None

    def add(self, protocol: str, address: str, port: int, names: tuple[str, ...], reason: str) -> None:
        self.total += 1
        refusal = Refusal(self._clock.now_ns(), protocol, address, port, names, reason)
        self.entries.append(refusal)
        key = (protocol, address, port)
        if self._on_refused is not None and key != self._last and self._rate.take(1):
            self._last = key
            self._on_refused(refusal)
