# SPDX-License-Identifier: Apache-2.0
"""Horizontal bars as text, from Unicode's block elements (U+2588 to U+258F)."""

from __future__ import annotations

FULL = "\u2588"
EIGHTHS = ("", "\u258f", "\u258e", "\u258d", "\u258c", "\u258b", "\u258a", "\u2589")
MARK = "\u2502"
WIDTH = 24


def bar(value: float, longest: float, width: int = WIDTH) -> str:
    """A bar for `value` (>= 0) where `longest` (> 0) is `width` characters long.

    A bar that does not reach 1 shows by a mark where that is.
    """
    eighths = round(8 * width * min(value, longest) / longest)
    drawn = FULL * (eighths // 8) + EIGHTHS[eighths % 8]
    if eighths == 0:
        drawn = EIGHTHS[1]
    mark = min(int(width / longest), width - 1)
    return drawn + " " * (mark - len(drawn)) + MARK if value < 1 and len(drawn) <= mark else drawn
