# SPDX-License-Identifier: Apache-2.0
"""Results of a benchmark: medians, ratios and their geometric mean, as a table or as rows."""

from __future__ import annotations

import io
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from innkeeper.bench.side import TimedLine
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
        """Median time of a workload, in seconds."""
        return statistics.median(self.times_ns[name]) / NS_PER_SECOND


@dataclass(frozen=True)
class Row:
    """One line of the table. `speed` is the peer's time over ours: above 1 we are faster."""

    name: str
    ours_s: float
    peer_s: float | None
    runs: int
    same_checksum: bool

    @property
    def speed(self) -> float | None:
        return None if self.peer_s is None else self.peer_s / self.ours_s


@dataclass(frozen=True)
class Report:
    """The outcome of one benchmark of our engine, beside a peer or alone."""

    ours: SideResults
    peer: SideResults | None
    notes: Sequence[str] = ()

    def measurements(self) -> list[Row]:
        """One row for each workload that every side ran, in the order of running; the boot last."""
        peer = self.peer
        names = [name for name in self.ours.times_ns if name != BOOT]
        names += [BOOT] if BOOT in self.ours.times_ns else []
        rows = []
        for name in names:
            if peer is not None and name not in peer.times_ns:
                continue
            sums = self.ours.checksums[name] | (peer.checksums[name] if peer else set())
            peer_s = peer.median_s(name) if peer else None
            rows.append(
                Row(name, self.ours.median_s(name), peer_s, len(self.ours.times_ns[name]), len(sums) <= 1)
            )
        return rows

    @property
    def geometric_mean_speed(self) -> float | None:
        """Of all workloads (not the boot); None without a peer."""
        speeds = [row.speed for row in self.measurements() if row.name != BOOT and row.speed is not None]
        return statistics.geometric_mean(speeds) if speeds else None

    @property
    def wrong(self) -> list[str]:
        """Workloads whose checksum was not the same in every run on every side."""
        return [row.name for row in self.measurements() if not row.same_checksum]

    def rows(self) -> list[dict[str, object]]:
        """For `--json`: a row each workload, then the summary."""
        rows: list[dict[str, object]] = [
            {
                "name": row.name,
                "seconds": round(row.ours_s, 6),
                "peer_seconds": None if row.peer_s is None else round(row.peer_s, 6),
                "speed": None if row.speed is None else round(row.speed, 4),
                "runs": row.runs,
                "same_checksum": row.same_checksum,
            }
            for row in self.measurements()
        ]
        mean = self.geometric_mean_speed
        rows.append(
            {
                "name": "summary",
                "innkeeper": self.ours.version,
                "peer": self.peer.version if self.peer else None,
                "geometric_mean_speed": None if mean is None else round(mean, 4),
                "notes": list(self.notes),
            }
        )
        return rows

    def table(self) -> str:
        """The table to print, plain text."""
        from rich.console import Console
        from rich.table import Table

        title = self.ours.version + (f" against {self.peer.version}" if self.peer else "")
        table = Table(title=title, title_justify="left")
        columns = ["workload", f"{self.ours.name} (s)"]
        columns += [f"{self.peer.name} (s)", "speed"] if self.peer else []
        for column in [*columns, "runs"]:
            table.add_column(column, justify="left" if column == "workload" else "right")
        for row in self.measurements():
            wrong = "" if row.same_checksum else "  WRONG CHECKSUM"
            cells = [row.name + wrong, f"{row.ours_s:.3f}"]
            if row.peer_s is not None and row.speed is not None:
                cells += [f"{row.peer_s:.3f}", f"{row.speed:.2f}"]
            if row.name == BOOT:
                table.add_section()
            table.add_row(*cells, str(row.runs))
        out = io.StringIO()
        console = Console(file=out, width=100, color_system=None)
        console.print(table)
        mean = self.geometric_mean_speed
        if mean is not None:
            console.print(f"Geometric mean of the workloads' speed: {mean:.2f} (1: as fast as the peer).")
        for note in self.notes:
            console.print(note)
        return out.getvalue()
