# SPDX-License-Identifier: Apache-2.0
"""`inn bench`: the engine's speed, beside a named peer."""

from __future__ import annotations

import json

from innkeeper.cli.parts import Parts
from innkeeper.cli.progress import ProgressDisplay


def measure(parts: Parts, against: str | None, as_json: bool) -> int:
    """Measure and print the table, or the rows as JSON."""
    with ProgressDisplay() as progress:
        report = parts.measure(against, progress)
    print(json.dumps(report.rows(), indent=2) if as_json else report.table())
    return 0
