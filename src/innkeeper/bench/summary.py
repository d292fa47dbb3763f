# SPDX-License-Identifier: Apache-2.0
"""What a run comes to, against the peer: by what bounds the workloads."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from innkeeper.bench.results import Row

SpeedOf = Callable[[Row], float | None]


@dataclass(frozen=True)
class Group:
    """Workloads of one kind: their speeds by name, in the order of running."""

    title: str
    speeds: dict[str, float]

    @property
    def geometric_mean(self) -> float:
        """Of the speeds; there is at least one."""
        return statistics.geometric_mean(self.speeds.values())

    @property
    def slowest(self) -> str:
        """Name of the workload with the lowest speed."""
        return min(self.speeds, key=self.speeds.__getitem__)

    def line(self) -> str:
        """For people: the mean and the slowest."""
        low = self.slowest
        mean = f"geometric mean {self.geometric_mean:.2f}"
        return f"{self.title}: {mean}, slowest {self.speeds[low]:.2f} ({low})."

    def row(self) -> dict[str, object]:
        """For `--json`."""
        low = self.slowest
        return {
            "geometric_mean_speed": round(self.geometric_mean, 4),
            "minimum_speed": round(self.speeds[low], 4),
            "slowest": low,
            "speeds": {name: round(speed, 4) for name, speed in self.speeds.items()},
        }


def groups(rows: Sequence[Row], speed_of: SpeedOf = lambda row: row.speed) -> dict[str, Group]:
    """The groups that have a workload: cpu (with those of linear algebra), float, os, boot."""
    kinds = {
        "cpu": ("CPU-bound", ("cpu", "float")),
        "float": ("Linear algebra in double precision", ("float",)),
        "os": ("OS-bound", ("os",)),
        "boot": ("Boot", ("boot",)),
    }
    found = {}
    for key, (title, members) in kinds.items():
        speeds = {
            row.name: speed for row in rows if row.kind in members and (speed := speed_of(row)) is not None
        }
        if speeds:
            found[key] = Group(title, speeds)
    return found


def lines(rows: Sequence[Row]) -> list[str]:
    """The summary as printed; empty without a peer."""
    said = []
    for key, group in groups(rows).items():
        if key in ("cpu", "float"):
            said.append(group.line())
        else:
            each = ", ".join(f"{name} {speed:.2f}" for name, speed in group.speeds.items())
            said.append(f"{group.title}: {each}.")
    cold = groups([row for row in rows if not row.is_boot], lambda row: row.cold_speed)
    said += [f"{cold[key].line()[:-1]}, with an empty code cache." for key in ("cpu", "os") if key in cold]
    return [*said, "(Speed 1: as fast as the peer; 2: in half its time.)"] if said else []


def rows_of(rows: Sequence[Row]) -> dict[str, object]:
    """The summary for `--json`."""
    said: dict[str, object] = {key: group.row() for key, group in groups(rows).items()}
    cold = groups([row for row in rows if not row.is_boot], lambda row: row.cold_speed)
    return said | {f"{key}_cold": group.row() for key, group in cold.items()}
