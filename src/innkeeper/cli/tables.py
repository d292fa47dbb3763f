# SPDX-License-Identifier: Apache-2.0
"""Tables: coloured for people, plain columns for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

STYLE_OF_STATE = {
    "running": "green",
    "paused": "yellow",
    "starting": "cyan",
    "stopping": "cyan",
    "crashed": "bold red",
}


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """One line for each row; whatever the terminal's width, so that programs can cut it."""
    if sys.stdout.isatty():
        _print_rich(headings, rows)
        return
    lines = [list(headings), *([*row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _print_rich(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=heading != "REASON", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=STYLE_OF_STATE.get(cell, "")) for cell in row))
    Console().print(table)


def visible(text: str) -> str:
    """`text` in one line, with nothing in it that a terminal would obey: it may be a guest's."""
    line = " ".join(text.split())
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def format_age(age_ns: int) -> str:
    """A length of time in its largest unit: `5s`, `3h`."""
    seconds = max(age_ns, 0) // 1_000_000_000
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
