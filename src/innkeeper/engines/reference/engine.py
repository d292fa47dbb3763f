# SPDX-License-Identifier: Apache-2.0
"""The reference engine: definitions executed as they stand. Slow, exact, and the oracle of the others."""

from __future__ import annotations

from collections.abc import Callable

from innkeeper.engines.engine import GuestRam
from innkeeper.engines.reference.turns import Turns
from innkeeper.engines.reference.vcpu import ReferenceVcpu
from innkeeper.host.clock import HostClock


class _NothingToGuard:
    def finish(self, *, is_child: bool) -> None:
        """Nothing was held."""


class ReferenceEngine:
    """Implements `innkeeper.engines.engine.Engine`. Harts take turns; each may have its own thread.

    `now_ns` is the monotonic clock that `time` counts when it is not virtual; the host's by default.
    """

    name = "reference"

    def __init__(self, ram: GuestRam, now_ns: Callable[[], int] | None = None) -> None:
        self._ram = ram
        self._now_ns = now_ns or HostClock().now_ns
        self._turns = Turns()
        self._vcpus: dict[int, ReferenceVcpu] = {}

    def create_vcpu(self, index: int, *, ecall_exits: bool, instructions_per_tick: int = 0) -> ReferenceVcpu:
        """A hart with hart id `index`, not yet reset."""
        vcpu = ReferenceVcpu(
            index,
            self._ram,
            self._now_ns,
            self._turns,
            ecall_exits=ecall_exits,
            instructions_per_tick=instructions_per_tick,
        )
        self._vcpus[index] = vcpu
        return vcpu

    def remote_fence(self, hart_mask: int, *, instruction: bool) -> None:
        """Flush translations of the harts in the mask, between two of their turns. Code is never cached."""
        with self._turns:
            for index, vcpu in self._vcpus.items():
                if hart_mask >> index & 1:
                    vcpu.flush()

    def memory_written(self, address: int, size_bytes: int) -> None:
        """Code is never cached: nothing to do."""

    def before_fork(self) -> _NothingToGuard:
        """There are no threads here, and all memory is private to a process."""
        return _NothingToGuard()

    def close(self) -> None:
        """Forget the vCPUs."""
        self._vcpus.clear()
