# SPDX-License-Identifier: Apache-2.0
"""Our own side: the guest in `innkeeper.vmm.Machine`, in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import innkeeper
from innkeeper.bench.side import GuestRun, LineSplitter, TimedLine
from innkeeper.errors import GuestError
from innkeeper.host.clock import HostClock
from innkeeper.vmm import Machine


class InnkeeperSide:
    """Runs guests in our machine with `engine`. Power-on is when the Machine is made."""

    name = "innkeeper"

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
            with Machine(
                guest.image,
                cpus=guest.cpus,
                memory_bytes=guest.memory_bytes,
                initrd=Path(initrd.name),
                engine=self._engine,
            ) as machine:
                result = machine.run(list(guest.command), stdout=lines.feed, timeout_s=guest.timeout_s)
        if result.returncode != 0:
            tail = result.stderr[-500:].decode(errors="replace").strip()
            raise GuestError(f"the benchmark ended with status {result.returncode} in our machine: {tail}")
