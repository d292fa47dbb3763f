# SPDX-License-Identifier: Apache-2.0
"""Names for VMs and snapshots that were given none."""

from __future__ import annotations

import secrets
from collections.abc import Container

_FIRST = (
    "amber", "ancient", "azure", "bold", "brave", "bright", "brisk", "calm", "clear", "clever",
    "cobalt", "cool", "copper", "coral", "crisp", "deep", "eager", "early", "fair", "fast", "fine",
    "fresh", "gentle", "golden", "grand", "green", "happy", "indigo", "jade", "keen", "kind", "light",
    "lively", "lucid", "merry", "mild", "neat", "noble", "odd", "olive", "plain", "proud", "quick",
    "quiet", "rapid", "rare", "red", "rough", "royal", "silent", "silver", "small", "smart", "solid",
    "steady", "still", "sunny", "swift", "tidy", "true", "vivid", "warm", "wide", "wise",
)  # fmt: skip
_SECOND = (
    "acorn", "aspen", "badger", "bay", "beaver", "birch", "brook", "cedar", "cliff", "cloud", "comet",
    "crane", "creek", "daisy", "delta", "dune", "eagle", "elm", "falcon", "fern", "finch", "fjord",
    "forest", "fox", "glacier", "grove", "gull", "hare", "harbor", "hawk", "heron", "hill", "island",
    "jay", "lake", "lark", "leaf", "lynx", "maple", "marten", "meadow", "moon", "moss", "oak", "ocean",
    "otter", "owl", "pebble", "pine", "pond", "raven", "reed", "ridge", "river", "robin", "sparrow",
    "spruce", "star", "stone", "swan", "tern", "tide", "willow", "wren",
)  # fmt: skip
_ATTEMPTS = 8


def new_name(taken: Container[str]) -> str:
    """A name that is not in `taken`: two words, and a number where those do not suffice."""
    for _ in range(_ATTEMPTS):
        name = f"{secrets.choice(_FIRST)}-{secrets.choice(_SECOND)}"
        if name not in taken:
            return name
    while True:
        name = f"{secrets.choice(_FIRST)}-{secrets.choice(_SECOND)}-{secrets.randbelow(100_000)}"
        if name not in taken:
            return name
