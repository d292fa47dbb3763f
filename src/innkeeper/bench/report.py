# SPDX-License-Identifier: Apache-2.0
"""The outcome of a benchmark: a table with bars, rows for `--json`, or a drawing."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from innkeeper.bench import summary
from innkeeper.bench.bars import bar
from innkeeper.bench.results import BOOT, Row, SideResults
from innkeeper.bench.svg import draw
from innkeeper.errors import ConfigError

TABLE_WIDTH = 140
ORDER = {"cpu": 0, "float": 1, "os": 2}
"""Of kinds, in the table."""


@dataclass(frozen=True)
class Report:
    """The outcome of one benchmark of our engine: alone, beside a peer, beside the bare host."""

    ours: SideResults
    peer: SideResults | None = None
    notes: Sequence[str] = ()
    cold: SideResults | None = None
    """Ours with an empty code cache, where `ours` had a filled one."""
    native: SideResults | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Of each workload, see `workloads.Kind`; one that is not named is "cpu"."""

    def measurements(self) -> list[Row]:
        """One row for each workload that every machine ran: by kind, in the order of running; boots last."""
        machines = [side for side in (self.ours, self.peer, self.cold) if side is not None]
        names = [name for name in self.ours.times_ns if all(name in side.times_ns for side in machines)]
        rows = sorted((self._row(name) for name in names if name != BOOT), key=lambda row: ORDER[row.kind])
        if BOOT in names:
            peer_s = self.peer.median_s(BOOT) if self.peer else None
            for side in (self.cold, self.ours):
                if side is not None:
                    runs = len(side.times_ns[BOOT])
                    rows.append(Row(side.boot_name, BOOT, side.median_s(BOOT), runs, peer_s))
        return rows

    def _row(self, name: str) -> Row:
        sides = [side for side in (self.ours, self.peer, self.cold, self.native) if side is not None]
        return Row(
            name,
            self.kinds.get(name, "cpu"),
            self.ours.median_s(name),
            len(self.ours.times_ns[name]),
            self.peer.median_s(name) if self.peer else None,
            self.cold.median_s(name) if self.cold else None,
            self.native.median_if_run_s(name) if self.native else None,
            len(set().union(*(side.checksums.get(name, set()) for side in sides))) <= 1,
        )

    @property
    def geometric_mean_speed(self) -> float | None:
        """Of all workloads (not the boot); None without a peer."""
        speeds = [row.speed for row in self.measurements() if not row.is_boot and row.speed is not None]
        return statistics.geometric_mean(speeds) if speeds else None

    @property
    def wrong(self) -> list[str]:
        """Workloads whose checksum was not the same in every run on every side."""
        return [row.name for row in self.measurements() if not row.same_checksum]

    @property
    def title(self) -> str:
        """Who is measured against whom."""
        return self.ours.version + (f" against {self.peer.version}" if self.peer else "")

    def rows(self) -> list[dict[str, object]]:
        """For `--json`: a row each workload, then the summary."""
        rows = [_json_row(row) for row in self.measurements()]
        mean = self.geometric_mean_speed
        last: dict[str, object] = {
            "name": "summary",
            "innkeeper": self.ours.version,
            "peer": self.peer.version if self.peer else None,
            "native": self.native.version if self.native else None,
            "geometric_mean_speed": None if mean is None else round(mean, 4),
            **summary.rows_of(self.measurements()),
            "notes": list(self.notes),
        }
        return [*rows, last]

    def table(self) -> str:
        """The table to print, plain text."""
        from rich.console import Console

        out = io.StringIO()
        console = Console(file=out, width=TABLE_WIDTH, color_system=None)
        rows = self.measurements()
        console.print(_table(self, rows))
        for line in [*summary.lines(rows), *self.notes]:
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        return out.getvalue()

    def svg(self) -> str:
        """The speeds as a drawing. ConfigError without a peer: there is nothing to draw."""
        if self.peer is None:
            raise ConfigError("without a peer there are no speeds to draw", "add --against qemu")
        return draw(self.title, self.peer.name, self.measurements(), self.notes)


def _json_row(row: Row) -> dict[str, object]:
    def rounded(value: float | None, digits: int) -> float | None:
        return None if value is None else round(value, digits)

    return {
        "name": row.name,
        "kind": row.kind,
        "seconds": round(row.ours_s, 6),
        "peer_seconds": rounded(row.peer_s, 6),
        "cold_seconds": rounded(row.cold_s, 6),
        "native_seconds": rounded(row.native_s, 6),
        "speed": rounded(row.speed, 4),
        "cold_speed": rounded(row.cold_speed, 4),
        "native_factor": rounded(row.native_factor, 3),
        "runs": row.runs,
        "same_checksum": row.same_checksum,
    }


def _table(report: Report, rows: Sequence[Row]) -> object:
    from rich.table import Table

    table = Table(title=report.title, title_justify="left")
    longest = max([1.0, *(row.speed for row in rows if row.speed is not None)])
    peer, native, cold = report.peer, report.native, report.cold
    columns = [("workload", True), ("kind", True), (f"{report.ours.name} (s)", True)]
    columns += [("cold (s)", cold is not None), (f"{peer.name if peer else ''} (s)", peer is not None)]
    columns += [("native (s)", native is not None), ("/ native", native is not None)]
    columns += [("speed", peer is not None), ("", peer is not None), ("runs", True)]
    for title, is_shown in columns:
        if is_shown:
            left = title in ("workload", "kind", "")
            table.add_column(title, justify="left" if left else "right", no_wrap=True)
    kind = ""
    for row in rows:
        if kind and row.kind != kind:
            table.add_section()
        kind = row.kind
        cells = [row.name + ("" if row.same_checksum else "  WRONG CHECKSUM"), row.kind]
        cells += [_number(row.ours_s, 3), _number(row.cold_s, 3), _number(row.peer_s, 3)]
        cells += [_number(row.native_s, 3), _number(row.native_factor, 1), _number(row.speed, 2)]
        cells += ["" if row.speed is None else bar(row.speed, longest), str(row.runs)]
        table.add_row(*(c for c, (_, is_shown) in zip(cells, columns, strict=True) if is_shown))
    return table


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
