# SPDX-License-Identifier: Apache-2.0
"""Bounds on everything that a guest or the network can make the NAT keep, and the rates it may go at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Limits:
    """Per VM. What exceeds a bound is refused as its protocol refuses it, or dropped."""

    tcp_connections: int = 1024
    tcp_opening: int = 256
    """Connections that the host has not yet been able to open, or the guest not yet answered."""
    tcp_syn_per_s: int = 1000
    tcp_syn_burst: int = 2000
    tcp_window_bytes: int = 512 << 10
    """What a guest may have sent on one connection before the host's socket has taken it."""
    tcp_flight_bytes: int = 1 << 20
    """What may be on the way to the guest on one connection, unacknowledged."""
    tcp_buffer_bytes: int = 64 << 20
    """Both of the above, over all connections."""
    tcp_connect_s: int = 60
    tcp_idle_s: int = 7440
    """Spec: RFC 5382 REQ-5 (at least 2 hours and 4 minutes)."""
    tcp_half_closed_idle_s: int = 600
    tcp_time_wait_s: int = 10
    """Two segments' lifetimes on a cable that is memory."""

    udp_flows: int = 512
    udp_idle_s: int = 180
    """Spec: RFC 4787 REQ-5 (at least 2 minutes)."""
    udp_unanswered_s: int = 60
    echo_flows: int = 32
    echo_idle_s: int = 30
    dns_queries: int = 128
    dns_connections: int = 32

    reassembly_datagrams: int = 16
    reassembly_fragments: int = 64
    """In one datagram."""
    reassembly_s: int = 30
    backlog_frames: int = 256
    """Frames (not of TCP, which keeps its own) that wait for the guest to have buffers."""
    refusals: int = 1000
    learned_names: int = 4096

    upload_bytes_per_s: int | None = None
    download_bytes_per_s: int | None = None
    """None: as fast as it goes."""

    def within(self, descriptors: int) -> Limits:
        """These limits, so that a guest leaves half of a process's `descriptors` to others."""
        return replace(
            self,
            tcp_connections=min(self.tcp_connections, descriptors // 4),
            udp_flows=min(self.udp_flows, descriptors // 8),
            dns_queries=min(self.dns_queries, descriptors // 32),
            dns_connections=min(self.dns_connections, descriptors // 64),
            echo_flows=min(self.echo_flows, descriptors // 64),
        )


class Clock(Protocol):
    """What the NAT needs of the machine's clock."""

    def now_ns(self) -> int: ...


class TokenBucket:
    """Lets `per_s` units pass a second, and up to `burst` at once."""

    __slots__ = ("_burst", "_clock", "_filled_ns", "_per_s", "_tokens")

    def __init__(self, clock: Clock, per_s: int, burst: int) -> None:
        if per_s <= 0 or burst <= 0:
            raise ValueError(f"a rate of {per_s}/s with a burst of {burst} lets nothing pass")
        self._clock, self._per_s, self._burst = clock, per_s, burst
        self._tokens = float(burst)
        self._filled_ns = clock.now_ns()

    def take(self, units: int) -> bool:
        """Whether `units` may pass now, and then they have."""
        if not self.is_open():
            return False
        self._tokens -= units
        return True

    def is_open(self) -> bool:
        """Whether something may pass: a bucket that is not empty lets any number pass, and owes the rest."""
        self._fill()
        return self._tokens > 0

    def spend(self, units: int) -> None:
        """`units` have passed."""
        self._tokens -= units

    def ready_ns(self) -> int:
        """When the next unit may pass."""
        self._fill()
        if self._tokens > 0:
            return self._filled_ns
        return self._filled_ns + int((1 - self._tokens) * NS_PER_S / self._per_s) + 1

    def _fill(self) -> None:
        now_ns = self._clock.now_ns()
        self._tokens = min(self._burst, self._tokens + (now_ns - self._filled_ns) * self._per_s / NS_PER_S)
        self._filled_ns = now_ns


class BufferBudget:
    """Bytes that all connections of a VM together may hold."""

    __slots__ = ("limit_bytes", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    @property
    def free_bytes(self) -> int:
        return max(0, self.limit_bytes - self.used_bytes)

    def take(self, size_bytes: int) -> bool:
        """Reserve `size_bytes`; False if there is no room."""
        if self.used_bytes + size_bytes > self.limit_bytes:
            return False
        self.used_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        self.used_bytes -= size_bytes
