# SPDX-License-Identifier: Apache-2.0
"""Debian version numbers and their order.

Source: Debian Policy 5.6.12 "Version".
"""

import re
from functools import total_ordering

_PARTS = re.compile(r"([^0-9]*)([0-9]*)")


def _character_weight(character: str) -> int:
    """Tilde sorts before the end of a part (0), letters before everything else."""
    if character == "~":
        return -1
    return ord(character) if character.isascii() and character.isalpha() else ord(character) + 0x110000


def _part_key(part: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Key of an upstream version or revision: alternating non-digit and digit runs.

    Every non-digit run ends in weight 0, which puts `~` before the end and the end before everything else.
    An absent part counts as "0".
    """
    runs = [run for run in _PARTS.findall(part or "0") if run != ("", "")]
    keys = [((*map(_character_weight, text), 0), int(digits or "0")) for text, digits in runs]
    return (*keys, ((0,), 0))


@total_ordering
class DebianVersion:
    """`[epoch:]upstream[-revision]`, comparable. Any string is accepted, as dpkg does when it reads."""

    __slots__ = ("_key", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        epoch, colon, rest = text.partition(":")
        if not colon or not (epoch.isascii() and epoch.isdigit()):
            epoch, rest = "0", text
        upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
        self._key = (int(epoch), _part_key(upstream), _part_key(revision))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DebianVersion) and self._key == other._key

    def __lt__(self, other: "DebianVersion") -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"DebianVersion({self.text!r})"


def satisfies(version: str, operator: str, bound: str) -> bool:
    """Whether `version operator bound` holds.

    The operators are those of Debian Policy 7.1: `<<` `<=` `=` `>=` `>>`. Raises ValueError for another.
    """
    left, right = DebianVersion(version), DebianVersion(bound)
    match operator:
        case "<<":
            return left < right
        case "<=" | "<":
            return left <= right
        case "=":
            return left == right
        case ">=" | ">":
            return left >= right
        case ">>":
            return left > right
    raise ValueError(f"unknown version relation {operator!r}")
