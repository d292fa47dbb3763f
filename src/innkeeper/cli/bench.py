# SPDX-License-Identifier: Apache-2.0
"""`inn bench`: the engine's speed, beside a named peer."""

from __future__ import annotations

import json

from innkeeper.cli.parts import BenchRequest, Parts
from innkeeper.cli.progress import ProgressDisplay
from innkeeper.errors import ConfigError


def measure(parts: Parts, request: BenchRequest, as_json: bool) -> int:
    """Measure or profile, and print the table, or the rows as JSON."""
    if request.profile and request.against:
        raise ConfigError("a profile is of our own engine only", "leave out --against or --profile")
    with ProgressDisplay() as progress:
        report = parts.measure(request, progress)
    print(json.dumps(report.rows(), indent=2) if as_json else report.table())
    return 0
