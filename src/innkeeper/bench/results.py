# SPDX-License-Identifier: Apache-2.0
"""What the sides did, from the lines of the guest's program: medians and ratios."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, field

from innkeeper.bench.side import CodeCacheState, TimedLine
from innkeeper.errors import GuestError

PREFIX = "innkeeper-bench "
BOOT = "boot"
"""Row of the boot: power-on to the first line of userland's program, on the host's clock."""
NS_PER_SECOND = 1_000_000_000


@dataclass
class SideResults:
    """What one side did. Times in nanoseconds, one for each run."""

    name: str
    version: str
    code_cache: CodeCacheState = ""
    times_ns: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    checksums: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    ended: bool = False
    """The last boot ran to its end."""

    def take(self, line: TimedLine, *, count_boot: bool) -> None:
        """Take a line of the guest's program. GuestError if it reports a failure; other lines are ignored."""
        if not line.text.startswith(PREFIX):
            return
        match line.text[len(PREFIX) :].split():
            case ["start"]:
                self.ended = False
                if count_boot:
                    self.times_ns[BOOT].append(line.since_start_ns)
            case ["result", name, elapsed, checksum] if elapsed.isdigit():
                self.times_ns[name].append(int(elapsed))
                self.checksums[name].add(checksum)
            case ["failed", name, status]:
                raise GuestError(f"the workload {name} failed in {self.version} with wait status {status}")
            case ["end"]:
                self.ended = True

    def median_s(self, name: str) -> float:
        """Median time of a workload that was run, in seconds."""
        return statistics.median(self.times_ns[name]) / NS_PER_SECOND

    def median_if_run_s(self, name: str) -> float | None:
        """Median time of a workload in seconds; None if it was not run here."""
        return self.median_s(name) if self.times_ns.get(name) else None

    @property
    def boot_name(self) -> str:
        """The boot's row: with what was in the code cache, where the measurement says so."""
        return f"{BOOT}_{self.code_cache}" if self.code_cache else BOOT


@dataclass(frozen=True)
class Row:
    """One line of the table. Times are medians in seconds, None where it was not measured."""

    name: str
    kind: str
    """A `workloads.Kind`, or "boot"."""
    ours_s: float
    runs: int
    peer_s: float | None = None
    cold_s: float | None = None
    """Ours with an empty code cache, where `ours_s` is with a filled one."""
    native_s: float | None = None
    same_checksum: bool = True

    @property
    def speed(self) -> float | None:
        """The peer's time over ours: above 1 we are faster."""
        return None if self.peer_s is None else self.peer_s / self.ours_s

    @property
    def cold_speed(self) -> float | None:
        """The same with an empty code cache."""
        return None if self.peer_s is None or self.cold_s is None else self.peer_s / self.cold_s

    @property
    def native_factor(self) -> float | None:
        """Our time over the host's own: how many times slower we are than the bare host."""
        return None if not self.native_s else self.ours_s / self.native_s

    @property
    def is_boot(self) -> bool:
        """Whether it is the boot, which no summary of workloads counts."""
        return self.kind == BOOT
