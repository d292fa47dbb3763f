# SPDX-License-Identifier: Apache-2.0
"""Operands in assembly language: what the words of a definition's `syntax` stand for.

A syntax is a mnemonic and a pattern such as `rd, imm(rs1)`. Its words: `rd rs1 rs2 rs3` are x registers and
`frd frs1 frs2 frs3` the same fields as f registers; `pc+imm` is the address that a branch goes to; `imm>>12`
an upper immediate; `csr`, `rm`, `pred`, `succ` what they say; the name of any other field is a number;
anything else (`sp`) stands for itself. An instruction with aq and rl fields has them as a suffix: `.aq`,
`.rl`, `.aqrl`.
"""

from __future__ import annotations

import re
from functools import cache

from innkeeper.isa.riscv.encoding import Encoding
from innkeeper.spec.riscv_names import CSR_NAMES, F_NAMES, ROUNDING_NAMES, X_NAMES

_WORD = re.compile(r"pc\+imm|imm>>12|[a-z0-9]+|[(),]")
_ORDERING = {"": (0, 0), ".aq": (1, 0), ".rl": (0, 1), ".aqrl": (1, 1)}
_FENCE_BITS = "iorw"

X_NUMBERS = {name: n for n, name in enumerate(X_NAMES)} | {f"x{n}": n for n in range(32)} | {"fp": 8}
F_NUMBERS = {name: n for n, name in enumerate(F_NAMES)} | {f"f{n}": n for n in range(32)}
CSR_NUMBERS = {name: n for n, name in CSR_NAMES.items()}
ROUNDING_NUMBERS = {name: n for n, name in ROUNDING_NAMES.items()}


@cache
def pattern(syntax: str) -> tuple[str, ...]:
    """The words and punctuation behind the mnemonic."""
    return tuple(_WORD.findall(syntax.partition(" ")[2]))


@cache
def field_of(word: str, encoding: Encoding) -> str | None:
    """The field that a word of a pattern shows; None for a word that stands for itself."""
    name = {"pc+imm": "imm", "imm>>12": "imm"}.get(word, word)
    if word.startswith("fr"):
        name = word[1:]
    return name if encoding.field(name) else None


def is_float(word: str) -> bool:
    """Whether the word is an f register."""
    return word.startswith("fr")


def suffix_of(fields: dict[str, int]) -> str:
    """What aq and rl append to the mnemonic."""
    bits = (fields.get("aq", 0), fields.get("rl", 0))
    return next(text for text, value in _ORDERING.items() if value == bits)


def split_suffix(mnemonic: str) -> tuple[str, dict[str, int]]:
    """The mnemonic without `.aq`, `.rl` or `.aqrl`, and the fields these say."""
    for text in (".aqrl", ".aq", ".rl"):
        if mnemonic.endswith(text):
            aq, rl = _ORDERING[text]
            return mnemonic.removesuffix(text), {"aq": aq, "rl": rl}
    return mnemonic, {}


def show(word: str, value: int, pc: int) -> str:
    """The operand `word` of an instruction at `pc` as text."""
    if is_float(word):
        return F_NAMES[value]
    match word:
        case "rd" | "rs1" | "rs2" | "rs3":
            return X_NAMES[value]
        case "pc+imm":
            return hex((pc + value) & (1 << 64) - 1)
        case "imm>>12":
            return hex(value >> 12 & 0xFFFFF)
        case "csr":
            return CSR_NAMES.get(value, hex(value))
        case "rm":
            return ROUNDING_NAMES[value]
        case "pred" | "succ":
            return "".join(c for i, c in enumerate(_FENCE_BITS) if value >> 3 - i & 1) or "0"
    return str(value)


def read(word: str, text: str, pc: int, labels: dict[str, int]) -> int:
    """The field's value that `text` gives for the operand `word` of an instruction at `pc`.

    ValueError or KeyError if it is no such operand.
    """
    if is_float(word):
        return F_NUMBERS[text]
    match word:
        case "rd" | "rs1" | "rs2" | "rs3":
            return X_NUMBERS[text]
        case "pc+imm":
            return _signed(_address(text, pc, labels) - pc, 64)
        case "imm>>12":
            number = int(text, 0)
            if not -(1 << 19) <= number < 1 << 20:
                raise ValueError(f"{text} has more than 20 bits")
            return _signed(number << 12, 32)
        case "csr":
            return CSR_NUMBERS[text] if text in CSR_NUMBERS else int(text, 0)
        case "rm":
            return ROUNDING_NUMBERS[text]
        case "pred" | "succ":
            return _fence_set(text)
    return int(text, 0)


def _fence_set(text: str) -> int:
    if text == "0":
        return 0
    if text != "".join(c for c in _FENCE_BITS if c in text):
        raise ValueError(f"{text} is no set of i, o, r, w in this order")
    return sum(8 >> _FENCE_BITS.index(c) for c in text)


def _address(text: str, pc: int, labels: dict[str, int]) -> int:
    """A label, a number, or `.` (this instruction) with an offset such as `.+8`."""
    if text in labels:
        return labels[text]
    if text.startswith("."):
        return pc + int(text[1:] or "0", 0)
    return int(text, 0)


def _signed(value: int, width: int) -> int:
    value &= (1 << width) - 1
    return value - (1 << width) if value >> width - 1 else value
