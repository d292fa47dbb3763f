# SPDX-License-Identifier: Apache-2.0
"""The speeds of a benchmark as a drawing: horizontal bars, by what bounds the workload.

Spec: Scalable Vector Graphics 1.1 (Second Edition), 9.2 "The rect element" and 10 "Text"
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from xml.sax.saxutils import escape

from innkeeper.bench.results import Row

WIDTH = 820
LEFT = 170
"""Where bars begin; names stand to the left of it."""
BAR_WIDTH = 470
LINE = 22
BAR_HEIGHT = 14
TOP = 64
FASTER, SLOWER = "#2b6cb0", "#c05621"
INK, FAINT, GRID = "#1a202c", "#718096", "#e2e8f0"
HEADINGS = {
    "cpu": "CPU-bound",
    "float": "Linear algebra, double precision",
    "os": "OS-bound",
    "boot": "Boot of the stock kernel",
}
TEXT = '<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="{anchor}"{more}>{text}</text>'


def draw(title: str, peer: str, rows: Sequence[Row], notes: Sequence[str] = ()) -> str:
    """An SVG document with a bar for the speed of each row that has one; `peer` names what speed 1 is."""
    shown = [row for row in rows if row.speed is not None]
    longest = max([1.0, *(row.speed or 0 for row in shown)])
    body = list(_rows(shown, longest))
    bottom = TOP + LINE * (len(shown) + len({row.kind for row in shown}))
    axis = list(_axis(peer, longest, bottom))
    below = [_text(16, bottom + 30 + 16 * n, note, size=11, fill=FAINT) for n, note in enumerate(notes)]
    height = bottom + 28 + 16 * len(notes)
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
            f' viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            _text(16, 26, title, size=16, more=' font-weight="bold"'),
            *axis,
            *body,
            *below,
            "</svg>\n",
        ]
    )


def _text(
    x: float, y: float, text: str, *, size: int = 12, fill: str = INK, anchor: str = "start", more: str = ""
) -> str:
    return TEXT.format(x=round(x, 1), y=y, size=size, fill=fill, anchor=anchor, more=more, text=escape(text))


def _position(speed: float, longest: float) -> float:
    return LEFT + BAR_WIDTH * speed / longest


def _axis(peer: str, longest: float, bottom: int) -> Iterator[str]:
    """A line at every whole speed, at most ten or so; that of the peer is strong and has its name."""
    step = max(1, math.ceil(longest / 10))
    for speed in sorted({1, *range(0, int(longest) + 1, step)}):
        x = round(_position(speed, longest), 1)
        colour = INK if speed == 1 else GRID
        yield f'<line x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{bottom}" stroke="{colour}"/>'
        label = f"{peer} = 1" if speed == 1 else str(speed)
        yield _text(x, TOP - 14, label, size=11, fill=INK if speed == 1 else FAINT, anchor="middle")


def _rows(rows: Sequence[Row], longest: float) -> Iterator[str]:
    y = TOP
    for kind, members in groupby(rows, key=lambda row: row.kind):
        yield _text(16, y + 15, HEADINGS.get(kind, kind), more=' font-weight="bold"')
        y += LINE
        for row in members:
            yield from _bar(row, y, longest)
            y += LINE


def _bar(row: Row, y: int, longest: float) -> Iterator[str]:
    speed = row.speed or 0.0
    end = _position(speed, longest)
    colour = FASTER if speed >= 1 else SLOWER
    width = max(1.0, round(end - LEFT, 1))
    yield _text(LEFT - 8, y + 15, row.name, anchor="end")
    yield f'<rect x="{LEFT}" y="{y + 4}" width="{width}" height="{BAR_HEIGHT}" fill="{colour}"/>'
    # Not across the peer's line.
    yield _text(max(end, _position(1, longest)) + 6, y + 15, f"{speed:.2f}", more=' font-weight="bold"')
    if row.native_factor is not None:
        yield _text(WIDTH - 16, y + 15, f"{row.native_factor:.1f} \u00d7 native", fill=FAINT, anchor="end")
