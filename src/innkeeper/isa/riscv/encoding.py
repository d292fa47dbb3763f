# SPDX-License-Identifier: Apache-2.0
"""Encodings as the manual writes them, read into masks and fields.

An encoding is a string of tokens from the highest bit down: bits (`0110011`), fields of their usual width
(`rd rs1 rs2 rs3 rm csr aq rl fm pred succ`), compressed registers x8..x15 (`rd' rs1' rs2'`), and fields with
the bits of the value that they hold (`imm[11:0]`, `imm[12|10:5]`). A token may exclude values: `rd!=0`,
`rd!={0,2}`; such a condition is on the whole field. `imm` is sign-extended from its highest bit, every other
field is without sign.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FIELD_WIDTHS = {
    "rd": 5, "rs1": 5, "rs2": 5, "rs3": 5, "rm": 3, "csr": 12, "aq": 1, "rl": 1, "fm": 4, "pred": 4,
    "succ": 4,
    "rd'": 3, "rs1'": 3, "rs2'": 3,
}  # fmt: skip
SIGNED_FIELDS = frozenset({"imm"})
_TOKEN = re.compile(r"(?P<name>[a-z][a-z0-9]*'?)(\[(?P<bits>[0-9:|]+)\])?(!=(?P<not>\{[0-9,]+\}|[0-9]+))?$")


@dataclass(frozen=True)
class Move:
    """`width` bits at `source` of the instruction are the bits at `target` of the field."""

    source: int
    target: int
    width: int


@dataclass(frozen=True)
class Field:
    """An operand inside an encoding. `name` has no prime; `base` is 8 for a compressed register."""

    name: str
    moves: tuple[Move, ...]
    excluded: frozenset[int]
    base: int = 0

    @property
    def width(self) -> int:
        """Bits of the value, from bit 0 to the highest that is encoded."""
        return max(m.target + m.width for m in self.moves)

    def extract(self, word: int) -> int:
        """The field's value; negative only for sign-extended fields."""
        value = 0
        for move in self.moves:
            value |= (word >> move.source & (1 << move.width) - 1) << move.target
        if self.name in SIGNED_FIELDS and value >> (self.width - 1):
            value -= 1 << self.width
        return value + self.base

    def insert(self, value: int) -> int:
        """The instruction's bits for `value`; ValueError where it does not fit exactly."""
        word = 0
        for move in self.moves:
            word |= ((value - self.base) >> move.target & (1 << move.width) - 1) << move.source
        if self.extract(word) != value or (value - self.base) in self.excluded:
            raise ValueError(f"{self.name} cannot be {value}")
        return word


@dataclass(frozen=True)
class Encoding:
    """Fixed bits and fields of one instruction of `width` (16 or 32) bits."""

    text: str
    width: int
    mask: int
    match: int
    fields: tuple[Field, ...]

    def matches(self, word: int) -> bool:
        """Whether `word` is this instruction."""
        if word & self.mask != self.match:
            return False
        return all(f.extract(word) - f.base not in f.excluded for f in self.fields if f.excluded)

    def field(self, name: str) -> Field | None:
        """The field called `name`, or None."""
        return next((f for f in self.fields if f.name == name), None)


def _value_bits(bits: str) -> list[tuple[int, int]]:
    """`12|10:5` as [(12, 12), (10, 5)]."""
    pairs = []
    for part in bits.split("|"):
        high, _, low = part.partition(":")
        pairs.append((int(high), int(low or high)))
    return pairs


def parse_encoding(text: str) -> Encoding:
    """Read an encoding; ValueError if it is not 16 or 32 bits long or a token is unknown."""
    items: list[tuple[str, str, list[tuple[int, int]], frozenset[int]]] = []
    width = 0
    for token in text.split():
        if set(token) <= {"0", "1"}:
            items.append(("bits", token, [(len(token) - 1, 0)], frozenset()))
            width += len(token)
            continue
        found = _TOKEN.match(token)
        if not found or (not found["bits"] and found["name"] not in FIELD_WIDTHS):
            raise ValueError(f"unknown token {token!r} in {text!r}")
        name = found["name"]
        spans = _value_bits(found["bits"]) if found["bits"] else [(FIELD_WIDTHS[name] - 1, 0)]
        excluded = frozenset(map(int, found["not"].strip("{}").split(","))) if found["not"] else frozenset()
        items.append(("field", name, spans, excluded))
        width += sum(high - low + 1 for high, low in spans)
    if width not in (16, 32):
        raise ValueError(f"{text!r} has {width} bits")
    return _place(text, width, items)


def _place(
    text: str, width: int, items: list[tuple[str, str, list[tuple[int, int]], frozenset[int]]]
) -> Encoding:
    mask = match = 0
    moves: dict[str, list[Move]] = {}
    excluded: dict[str, frozenset[int]] = {}
    position = width
    for kind, token, spans, not_these in items:
        for high, low in spans:
            size = high - low + 1
            position -= size
            if kind == "bits":
                mask |= (1 << size) - 1 << position
                match |= int(token, 2) << position
            else:
                moves.setdefault(token, []).append(Move(position, low, size))
        if kind == "field":
            excluded[token] = excluded.get(token, frozenset()) | not_these
    if "rm" in moves:
        excluded["rm"] = excluded["rm"] | {5, 6}
    fields = tuple(
        Field(n.rstrip("'"), tuple(m), excluded[n], 8 if n.endswith("'") else 0) for n, m in moves.items()
    )
    return Encoding(text, width, mask, match, fields)
