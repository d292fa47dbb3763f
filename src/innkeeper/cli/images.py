# SPDX-License-Identifier: Apache-2.0
"""`inn images`: what can be booted, and what of it is in the cache."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from innkeeper.cli.failures import say
from innkeeper.cli.parts import ImageRow, Parts
from innkeeper.cli.progress import ProgressDisplay
from innkeeper.cli.sizes import format_size

HEADINGS = ("IMAGE", "CACHED", "SIZE", "WHAT IT IS")


def list_images(parts: Parts, as_json: bool) -> int:
    """Print the catalog, as a table or as JSON: `[{name, summary, version, size_bytes}]`."""
    rows = parts.list_images()
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return 0
    _print_table(rows)
    return 0


def pull_image(parts: Parts, name: str) -> int:
    """Build `name` in the cache, so that `inn run` need not."""
    with ProgressDisplay() as progress:
        parts.pull_image(name, progress)
    say(f"{name} is in the cache (inn run {name} boots it)")
    return 0


def remove_images(parts: Parts, names: Sequence[str]) -> int:
    """Take `names` out of the cache, in the order given."""
    for name in names:
        parts.remove_image(name)
        say(f"{name} is no longer in the cache")
    return 0


def _print_table(rows: Sequence[ImageRow]) -> None:
    """Columns that programs can cut too: one line an image, whatever the width of the terminal."""
    cells = [HEADINGS]
    for row in rows:
        size = "-" if row.size_bytes is None else format_size(row.size_bytes)
        cells.append((row.name, row.version or "no", size, row.summary))
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    for line in cells:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
