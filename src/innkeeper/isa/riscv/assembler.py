# SPDX-License-Identifier: Apache-2.0
"""An assembler for tests and benchmarks, derived from the definitions' encodings and syntax.

It takes what `disassemble` gives, the pseudo-instructions in `PSEUDO`, `li`, labels, and the directives
`.2byte`, `.4byte`, `.8byte` (numbers). Lines end at a newline or `;`, comments begin with `#`. There is no
relaxation: `c.` mnemonics give 16 bits, all others 32.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import innkeeper.isa.riscv.instructions  # noqa: F401  (registers all definitions)
from innkeeper.isa.riscv.definition import COMPRESSED, INSTRUCTIONS, Compressed, Instruction
from innkeeper.isa.riscv.syntax import field_of, pattern, read, split_suffix

PSEUDO = {
    ("nop", 0): "addi zero, zero, 0",
    ("mv", 2): "addi {0}, {1}, 0",
    ("not", 2): "xori {0}, {1}, -1",
    ("neg", 2): "sub {0}, zero, {1}",
    ("negw", 2): "subw {0}, zero, {1}",
    ("sext.w", 2): "addiw {0}, {1}, 0",
    ("seqz", 2): "sltiu {0}, {1}, 1",
    ("snez", 2): "sltu {0}, zero, {1}",
    ("beqz", 2): "beq {0}, zero, {1}",
    ("bnez", 2): "bne {0}, zero, {1}",
    ("bgtu", 3): "bltu {1}, {0}, {2}",
    ("bgt", 3): "blt {1}, {0}, {2}",
    ("j", 1): "jal zero, {0}",
    ("jal", 1): "jal ra, {0}",
    ("jr", 1): "jalr zero, 0({0})",
    ("jalr", 1): "jalr ra, 0({0})",
    ("ret", 0): "jalr zero, 0(ra)",
    ("csrr", 2): "csrrs {0}, {1}, zero",
    ("csrw", 2): "csrrw zero, {0}, {1}",
    ("csrs", 2): "csrrs zero, {0}, {1}",
    ("csrc", 2): "csrrc zero, {0}, {1}",
    ("csrwi", 2): "csrrwi zero, {0}, {1}",
    ("fence", 0): "fence iorw, iorw",
    ("pause", 0): "fence w, 0",
    ("fence.tso", 0): ".4byte 0x8330000f",
    ("sfence.vma", 0): "sfence.vma zero, zero",
    ("c.nop", 0): "c.nop 0",
}
"""Pseudo-instructions by mnemonic and number of operands.

Spec: riscv-unpriv 20240411, "RISC-V Assembly Programmer's Handbook"; riscv-asm-manual
"""

_LABEL = re.compile(r"([A-Za-z_][\w$]*):\s*")
_OPERANDS = re.compile(r"[^\s(),]+|[(),]")


@dataclass(frozen=True)
class _Line:
    text: str
    number: int
    address: int


def assemble(source: str, address: int = 0) -> bytes:
    """The machine code of `source`, to lie at `address`. ValueError, with the line, where it is wrong."""
    lines: list[_Line] = []
    labels: dict[str, int] = {}
    here = address
    for number, raw in enumerate(source.splitlines(), 1):
        for statement in raw.partition("#")[0].split(";"):
            text = statement.strip()
            while found := _LABEL.match(text):
                if found[1] in labels:
                    raise ValueError(f"line {number}: label {found[1]} is there twice")
                labels[found[1]] = here
                text = text[found.end() :]
            for plain in _plain(text, number):
                lines.append(_Line(plain, number, here))
                here += _size(lines[-1])
    return b"".join(_encode(line, labels) for line in lines)


def _plain(text: str, number: int) -> list[str]:
    """`text` with pseudo-instructions replaced by real ones."""
    if not text:
        return []
    mnemonic, _, rest = text.partition(" ")
    operands = [o.strip() for o in rest.split(",")] if rest.strip() else []
    if mnemonic == "li" and len(operands) == 2:
        try:
            return _load_immediate(operands[0], int(operands[1], 0))
        except ValueError as error:
            raise ValueError(f"line {number}: {text!r}: {error}") from error
    form = PSEUDO.get((mnemonic, len(operands)))
    return [form.format(*operands) if form else text]


def _load_immediate(register: str, value: int) -> list[str]:
    """The shortest of the usual sequences: addi; lui, addiw; or a shorter constant, shifted and added to."""
    value &= (1 << 64) - 1
    value -= value >> 63 << 64
    low = (value & 0xFFF) - ((value & 0x800) << 1)
    if value == low:
        return [f"addi {register}, zero, {value}"]
    if -(1 << 31) <= value < 1 << 31:
        upper = f"lui {register}, {(value - low) >> 12 & 0xFFFFF:#x}"
        return [upper, f"addiw {register}, {register}, {low}"] if low else [upper]
    rest, shift = (value - low) >> 12, 12
    while not rest & 1:
        rest, shift = rest >> 1, shift + 1
    lines = [*_load_immediate(register, rest), f"slli {register}, {register}, {shift}"]
    return [*lines, f"addi {register}, {register}, {low}"] if low else lines


def _find(mnemonic: str) -> tuple[Instruction | Compressed | None, dict[str, int]]:
    """The definition, and the fields that the mnemonic's suffix sets."""
    exact = INSTRUCTIONS.get(mnemonic) or COMPRESSED.get(mnemonic)
    if exact:
        return exact, {}
    name, fields = split_suffix(mnemonic)
    ordered = INSTRUCTIONS.get(name)
    return (ordered if ordered and ordered.encoding.field("aq") else None), fields


def _size(line: _Line) -> int:
    mnemonic = line.text.split()[0]
    if mnemonic in (".2byte", ".4byte", ".8byte"):
        return int(mnemonic[1]) * (line.text.count(",") + 1)
    definition, _ = _find(mnemonic)
    if definition is None:
        raise ValueError(f"line {line.number}: unknown instruction {line.text!r}")
    return definition.encoding.width // 8


def _encode(line: _Line, labels: dict[str, int]) -> bytes:
    mnemonic, _, rest = line.text.partition(" ")
    try:
        if mnemonic.startswith("."):
            size = int(mnemonic[1])
            return b"".join(int(n, 0).to_bytes(size, "little") for n in rest.split(","))
        definition, fields = _find(mnemonic)
        assert definition is not None  # _size found it
        word = _word(definition, fields, _OPERANDS.findall(rest), line.address, labels)
        return word.to_bytes(definition.encoding.width // 8, "little")
    except (ValueError, KeyError, OverflowError) as error:
        raise ValueError(f"line {line.number}: {line.text!r}: {error}") from error


def _word(
    definition: Instruction | Compressed,
    fields: dict[str, int],
    given: list[str],
    pc: int,
    labels: dict[str, int],
) -> int:
    encoding = definition.encoding
    words = pattern(definition.syntax)
    if words and words[-1] == "rm" and len(given) == len(words) - 2:
        given = [*given, ",", "dyn"]
    if len(given) != len(words):
        raise ValueError(f"needs the form {definition.syntax!r}")
    values = {f.name: 0 for f in encoding.fields} | fields
    for word, text in zip(words, given, strict=True):
        name = field_of(word, encoding)
        if name is not None:
            values[name] = read(word, text, pc, labels)
        elif text != word:
            raise ValueError(f"needs the form {definition.syntax!r}")
    return encoding.match | sum(f.insert(values[f.name]) for f in encoding.fields)
