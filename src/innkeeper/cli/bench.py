# SPDX-License-Identifier: Apache-2.0
"""`inn bench`: the engine's speed, beside a named peer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from innkeeper.cli.parts import BenchRequest, DrawableReport, Parts
from innkeeper.cli.progress import ProgressDisplay
from innkeeper.errors import ConfigError


def code_caches(*, cold: bool, warm: bool) -> tuple[Literal["cold", "warm"], ...]:
    """The states of the code cache that the options name."""
    states: list[Literal["cold", "warm"]] = []
    if cold:
        states.append("cold")
    if warm:
        states.append("warm")
    return tuple(states)


def measure(parts: Parts, request: BenchRequest, as_json: bool, svg: Path | None = None) -> int:
    """Measure or profile, and print the table, or the rows as JSON; draw the speeds into the file `svg`."""
    if request.what not in ("engine", "network"):
        raise ConfigError(f"there is no benchmark {request.what!r}", "inn bench, or inn bench network")
    if request.what == "network" and (request.profile or request.code_caches or svg is not None):
        raise ConfigError("the network is measured as it is", "leave out --profile, --cold, --warm and --svg")
    if request.profile and request.against:
        raise ConfigError("a profile is of our own engine only", "leave out --against or --profile")
    if request.profile and request.code_caches:
        raise ConfigError(
            "a profile is with the code cache as it is", "leave out --cold and --warm, or --profile"
        )
    if svg is not None:
        _check_drawing(request, svg)
    with ProgressDisplay() as progress:
        report = parts.measure(request, progress)
    print(json.dumps(report.rows(), indent=2) if as_json else report.table())
    if svg is not None and isinstance(report, DrawableReport):
        svg.write_text(report.svg(), "utf-8")
    return 0


def _check_drawing(request: BenchRequest, svg: Path) -> None:
    """Refuse before the minutes of measuring what could not be drawn after them."""
    if request.against is None:
        raise ConfigError("--svg draws speeds relative to a peer", "add --against qemu")
    place = svg if svg.exists() else svg.absolute().parent
    if svg.is_dir() or not os.access(place, os.W_OK):
        raise ConfigError(f"{svg} cannot be written", "name a file in a folder that can be")
