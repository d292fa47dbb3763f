# SPDX-License-Identifier: Apache-2.0
"""Relations between packages: `libc6 (>= 2.38), debconf | debconf-2.0`.

Source: Debian Policy 7.1 "Syntax of relationship fields".
"""

import re
from dataclasses import dataclass

_RELATION = re.compile(
    r"""\s*(?P<name>[A-Za-z0-9][A-Za-z0-9+.\-]*)
        (?::(?P<qualifier>[a-z0-9\-]+))?
        (?:\s*\(\s*(?P<operator><<|<=|=|>=|>>|<|>)\s*(?P<version>[^\s)]+)\s*\))?
        (?:\s*\[[^\]]*\])?(?:\s*<[^>]*>)*\s*$""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Relation:
    """One package name with an optional version bound; `operator` is empty when any version will do."""

    name: str
    operator: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.operator} {self.version})" if self.operator else self.name


def parse_relations(field: str) -> list[list[Relation]]:
    """Return the groups of a relationship field: all groups must hold, in each any alternative.

    Raises ValueError for text that is not a relationship field.
    """
    groups = []
    for group in field.replace("\n", " ").split(","):
        if not group.strip():
            continue
        alternatives = []
        for text in group.split("|"):
            match = _RELATION.match(text)
            if match is None:
                raise ValueError(f"not a package relation: {text.strip()!r}")
            alternatives.append(Relation(match["name"], match["operator"] or "", match["version"] or ""))
        groups.append(alternatives)
    return groups
