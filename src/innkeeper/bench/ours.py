# SPDX-License-Identifier: Apache-2.0
"""Our own side: the guest in `innkeeper.vmm.Machine`, in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import innkeeper
from innkeeper.bench.code_cache import CachedMachine, CodeCache
from innkeeper.bench.side import CodeCacheState, GuestRun, LineSplitter, TimedLine
from innkeeper.errors import GuestError
from innkeeper.host.clock import HostClock
from innkeeper.network.policy import Policy
from innkeeper.vmm import Machine

STATE_IN_WORDS = {"cold": "empty code cache", "warm": "filled code cache"}


class InnkeeperSide:
    """Runs guests in our machine with `engine`. Power-on is when the Machine is made."""

    name = "innkeeper"
    code_cache: CodeCacheState = ""

    def __init__(self, engine: str = "auto") -> None:
        self.version = f"Innkeeper {innkeeper.__version__} ({engine})"
        self._engine = engine
        self._clock = HostClock()

    def run(self, guest: GuestRun, on_line: Callable[[TimedLine], None]) -> None:
        """See `innkeeper.bench.side.Side`."""
        with tempfile.NamedTemporaryFile(prefix="innkeeper-bench-", suffix=".initrd") as initrd:
            initrd.write(guest.initrd)
            initrd.flush()
            start_ns = self._clock.now_ns()
            lines = LineSplitter(self._clock, start_ns, on_line)
            with self._machine(guest, initrd.name) as machine:
                result = machine.run(list(guest.command), stdout=lines.feed, timeout_s=guest.timeout_s)
        if result.returncode != 0:
            tail = result.stderr[-500:].decode(errors="replace").strip()
            raise GuestError(f"the benchmark ended with status {result.returncode} in our machine: {tail}")

    def _machine(self, guest: GuestRun, initrd: str) -> Machine:
        return Machine(
            guest.image,
            cpus=guest.cpus,
            memory_bytes=guest.memory_bytes,
            initrd=initrd,
            engine=self._engine,
            net="user" if guest.network else "none",
            policy=Policy.parse(allow=["host"]) if guest.network else None,
        )


class CachedSide(InnkeeperSide):
    """Ours with a code cache that is empty at each boot ("cold"), or filled by the same workloads ("warm").

    A boot that fills it comes before the first one of each image, and is not measured.
    """

    def __init__(self, state: CodeCacheState, cache: CodeCache) -> None:
        super().__init__("jit")
        self.code_cache = state
        self.version = f"Innkeeper {innkeeper.__version__} (jit, {STATE_IN_WORDS[state]})"
        self._cache = cache
        self._filled_by: set[str] = set()

    def run(self, guest: GuestRun, on_line: Callable[[TimedLine], None]) -> None:
        """See `innkeeper.bench.side.Side`."""
        if self.code_cache == "cold":
            self._cache.renew()
        elif guest.image not in self._filled_by:
            super().run(guest, lambda line: None)
            self._filled_by.add(guest.image)
        super().run(guest, on_line)

    def _machine(self, guest: GuestRun, initrd: str) -> Machine:
        machine = CachedMachine(
            guest.image,
            cpus=guest.cpus,
            memory_bytes=guest.memory_bytes,
            initrd=initrd,
            engine="jit",
            net="none",
        )
        machine.code_cache = self._cache
        return machine
