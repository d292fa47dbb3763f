# SPDX-License-Identifier: Apache-2.0
"""Reads SPECIFICATION.md: its promises, and what each says shows it.

A promise is a list item. One with a number ends with what shows it, in brackets, several divided by `;`:

    - An idle guest takes under 2 % of a core. [test: tests/guest/test_idle.py::test_idle]
    - A stock kernel boots in 1.5 times QEMU's time. [benchmark: inn bench --against qemu]
    - Something that we mean to keep, not yet shown: 4 ms. [pending]
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ITEM = re.compile(r"^\s*[-*] ")
PROOF = re.compile(r"\[(?P<proof>(?:test|benchmark): [^\]]+|pending)\]\.?$")
NUMBER = re.compile(r"(?<![\w.`-])\d")
NAMES = re.compile(r"`[^`]*`|\[[^\]]*\](?:\([^)]*\))?")
"""Code and links, in which a digit is no promise."""


@dataclass(frozen=True)
class Promise:
    """One list item: its text in one line, where it begins, and what shows it ("pending", "test: …")."""

    line_number: int
    text: str
    proofs: tuple[str, ...]

    @property
    def has_number(self) -> bool:
        return bool(NUMBER.search(NAMES.sub("", self.text)))


def read_promises(markdown: str) -> list[Promise]:
    """Every list item of `markdown`, its continuation lines joined."""
    items: list[tuple[int, list[str]]] = []
    open_item = False
    for number, line in enumerate(markdown.splitlines(), 1):
        if ITEM.match(line):
            items.append((number, [ITEM.sub("", line)]))
            open_item = True
        elif open_item and line.startswith("  ") and line.strip():
            items[-1][1].append(line.strip())
        else:
            open_item = False
    return [_promise(number, " ".join(lines).strip()) for number, lines in items]


def _promise(line_number: int, text: str) -> Promise:
    match = PROOF.search(text)
    if match is None:
        return Promise(line_number, text, ())
    proofs = tuple(proof.strip() for proof in match["proof"].split(";"))
    return Promise(line_number, text[: match.start()].strip(), proofs)
