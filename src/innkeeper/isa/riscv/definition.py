# SPDX-License-Identifier: Apache-2.0
"""How an instruction is defined, and the register of all definitions.

`@instruction(encoding, syntax, extension=...)` above a function `(hart, operands...)` is the only place
that says anything about an instruction. The function's parameters are names of fields of its encoding.
`compressed(...)` says which instruction a 16-bit one stands for. Decoder, disassembler, assembler, the
reference engine and the stencils are all derived from these.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from innkeeper.isa.riscv.encoding import Encoding, parse_encoding


@dataclass(frozen=True)
class Instruction:
    """A 32-bit instruction. `syntax` is its assembly: mnemonic, then operands (`frd` is rd shown as f)."""

    name: str
    encoding: Encoding
    syntax: str
    extension: str
    execute: Callable[..., None]
    operands: tuple[str, ...]
    """The fields that `execute` takes, in its order."""


@dataclass(frozen=True)
class Compressed:
    """A 16-bit instruction that stands for `target` with `operands`: a field's name or a number each."""

    name: str
    encoding: Encoding
    syntax: str
    target: str
    operands: Mapping[str, str | int] = field(default_factory=dict)
    extension: str = "C"


INSTRUCTIONS: dict[str, Instruction] = {}
"""All 32-bit instructions by mnemonic, in order of definition."""

COMPRESSED: dict[str, Compressed] = {}
"""All 16-bit instructions by mnemonic."""


def instruction(
    encoding: str, syntax: str, *, extension: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register the decorated function as the meaning of the instruction."""

    def register(execute: Callable[..., None]) -> Callable[..., None]:
        parsed = parse_encoding(encoding)
        name = syntax.split()[0]
        operands = tuple(inspect.signature(execute).parameters)[1:]
        unknown = [o for o in operands if parsed.field(o) is None]
        if unknown or name in INSTRUCTIONS:
            raise ValueError(f"{name}: no such fields {unknown}, or defined twice")
        INSTRUCTIONS[name] = Instruction(name, parsed, syntax, extension, execute, operands)
        return execute

    return register


def compressed(
    encoding: str, syntax: str, target: str, *, extension: str = "C", **operands: str | int
) -> None:
    """Register a 16-bit instruction that means `target`.

    `operands` gives every operand of the target that its definition takes: a number, or the name of a field
    of this encoding. Example: `compressed("010 uimm[5:3] rs1' uimm[2|6] rd' 00", "c.lw rd, uimm(rs1)", "lw",
    rd="rd", rs1="rs1", imm="uimm")`.
    """
    parsed = parse_encoding(encoding)
    name = syntax.split()[0]
    unknown = [v for v in operands.values() if isinstance(v, str) and parsed.field(v) is None]
    if unknown or name in COMPRESSED:
        raise ValueError(f"{name}: no such fields {unknown}, or defined twice")
    COMPRESSED[name] = Compressed(name, parsed, syntax, target, dict(operands), extension)
