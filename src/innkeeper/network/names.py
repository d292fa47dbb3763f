# SPDX-License-Identifier: Apache-2.0
"""Which names the guest was told stand for which address, for as long as it may believe so."""

from __future__ import annotations

from collections import OrderedDict

from innkeeper.network.limits import NS_PER_S, Clock

TTL_MIN_S = 60
"""An answer is used for a while after it has come, however short its life was meant to be."""
TTL_MAX_S = 86_400
_NAMES_PER_ADDRESS = 16


class LearnedNames:
    """Bounded: the address that was answered longest ago is forgotten first."""

    def __init__(self, clock: Clock, addresses_max: int) -> None:
        self._clock, self._addresses_max = clock, addresses_max
        self._table: OrderedDict[bytes, dict[str, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def learn(self, name: str, address: bytes, ttl_s: int) -> None:
        """The guest was told that `name` (plain) is at `address` (packed)."""
        until_ns = self._clock.now_ns() + min(max(ttl_s, TTL_MIN_S), TTL_MAX_S) * NS_PER_S
        names = self._table.setdefault(address, {})
        self._table.move_to_end(address)
        names[name] = max(until_ns, names.pop(name, 0))
        if len(names) > _NAMES_PER_ADDRESS:
            del names[next(iter(names))]
        if len(self._table) > self._addresses_max:
            self._table.popitem(last=False)

    def of(self, address: bytes) -> tuple[str, ...]:
        """The names that are valid for `address` now."""
        names = self._table.get(address)
        if not names:
            return ()
        now_ns = self._clock.now_ns()
        return tuple(name for name, until_ns in names.items() if until_ns >= now_ns)
