# SPDX-License-Identifier: Apache-2.0
"""Puts fragments of the guest's datagrams together. Spec: RFC 791 3.2, RFC 8200 4.5, RFC 5722."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from innkeeper.network.datagram import Datagram, Fragment
from innkeeper.network.limits import NS_PER_S, Clock, Limits

PAYLOAD_BYTES_MAX = 65535
_Key = tuple[bytes, bytes, int, int]


@dataclass(slots=True)
class _Parts:
    begun_ns: int
    parts: dict[int, bytes] = field(default_factory=dict)
    total_bytes: int | None = None
    """Known from the last fragment."""
    held_bytes: int = 0
    spoiled: bool = False
    """Fragments overlapped or contradicted each other: all of this datagram is dropped (RFC 5722 4)."""


class Reassembly:
    """Holds up to `limits.reassembly_datagrams` of at most 64 KiB each, the oldest of which gives way."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock, self._limits = clock, limits
        self._table: OrderedDict[_Key, _Parts] = OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def add(self, fragment: Fragment) -> Datagram | None:
        """The datagram, when `fragment` was all that it lacked."""
        datagram = fragment.datagram
        self._expire()
        key = (datagram.source, datagram.target, datagram.protocol, datagram.identification)
        entry = self._table.get(key)
        if entry is None:
            entry = self._table[key] = _Parts(self._clock.now_ns())
            if len(self._table) > self._limits.reassembly_datagrams:
                self._table.popitem(last=False)
        if not self._fits(entry, fragment):
            entry.spoiled, entry.parts, entry.held_bytes = True, {}, 0
        if entry.spoiled or entry.held_bytes != entry.total_bytes:
            return None
        del self._table[key]
        whole = b"".join(entry.parts[start] for start in sorted(entry.parts))
        return Datagram(datagram.source, datagram.target, datagram.protocol, memoryview(whole))

    def _fits(self, entry: _Parts, fragment: Fragment) -> bool:
        """Keep `fragment`; False if it makes nonsense of the others."""
        start, part = fragment.offset_bytes, fragment.datagram.payload
        end = start + len(part)
        if entry.spoiled or end > PAYLOAD_BYTES_MAX or not part or (fragment.more and len(part) % 8):
            return False
        if start in entry.parts and entry.parts[start] == part:
            return True
        if len(entry.parts) >= self._limits.reassembly_fragments:
            return False
        if any(start < other + len(data) and other < end for other, data in entry.parts.items()):
            return False
        if not fragment.more:
            if entry.total_bytes not in (None, end):
                return False
            entry.total_bytes = end
        entry.parts[start] = bytes(part)
        entry.held_bytes += len(part)
        last = max(other + len(data) for other, data in entry.parts.items())
        return entry.total_bytes is None or last <= entry.total_bytes

    def _expire(self) -> None:
        oldest_ns = self._clock.now_ns() - self._limits.reassembly_s * NS_PER_S
        while self._table:
            key, entry = next(iter(self._table.items()))
            if entry.begun_ns >= oldest_ns:
                return
            del self._table[key]
