# SPDX-License-Identifier: Apache-2.0
"""Amounts as people write them on a command line."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from innkeeper.errors import ConfigError

UNIT_BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
"""Powers of 1024 with or without the i of IEC 80000-13, as QEMU and systemd read them."""

SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[KMGT])(?:i?B)?", re.IGNORECASE | re.ASCII)
TIMEOUT_MAX_S = 1e9
DIGITS_MAX = 20
"""Longer texts are no size that anyone means, and would be slow to convert."""


def parse_size_bytes(text: str) -> int:
    """The number of bytes that `512M`, `2G` or `1.5GiB` stands for; M, MB and MiB are all 2**20 bytes.

    ConfigError if it is no size, has no unit, is zero or is no whole number of bytes.
    """
    match = SIZE.fullmatch(text.strip())
    if match is None or len(match["number"]) > DIGITS_MAX:
        raise ConfigError(f"'{text}' is not a size", "write a number and a unit: 512M, 2G or 1.5GiB")
    size_bytes = Fraction(match["number"]) * UNIT_BYTES[match["unit"].upper()]
    if size_bytes == 0:
        raise ConfigError(f"'{text}' is no memory at all", "give at least 64M")
    if size_bytes.denominator != 1:
        raise ConfigError(f"'{text}' is not a whole number of bytes", "use a smaller unit, 1536M for 1.5G")
    return int(size_bytes)


def format_size(size_bytes: int) -> str:
    """`size_bytes` with the largest unit that leaves a number of at least 1: `9.8 MiB`."""
    for unit in "TGMK":
        if size_bytes >= UNIT_BYTES[unit]:
            return f"{size_bytes / UNIT_BYTES[unit]:.1f} {unit}iB"
    return f"{size_bytes} B"


def parse_timeout_s(text: str) -> float:
    """A time in seconds above 0, `30` or `0.5`. ConfigError if it is not."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= TIMEOUT_MAX_S:
        raise ConfigError(f"'{text}' is not a time-out", "give seconds above 0, such as 30 or 0.5")
    return seconds
