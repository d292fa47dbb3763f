# SPDX-License-Identifier: Apache-2.0
"""Random user-level programs for the engines: operands lean on corner cases and on the scratch memory."""

from __future__ import annotations

import random

from innkeeper.isa.riscv.decoder import decode
from innkeeper.isa.riscv.definition import COMPRESSED, INSTRUCTIONS
from innkeeper.isa.riscv.encoding import Encoding
from tests.differential.qemu.case import ECALL, SCRATCH_ADDRESS, Case

CORNERS = [
    *(0, 1, 2, 3, 0x1F, 0x3F, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000),
    *(0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF80000000, 0xFFFFFFFF7FC00000, 0xFFFFFFFF7F800000, 0xFFFFFFFFFF800000),
    *(0xFFFFFFFF00000001, 0xFFFFFFFF7F800001, 0x7FF0000000000000, 0x7FF0000000000001, 0xFFF0000000000000),
    *(0x3FF0000000000000, 0x4330000000000000, 0xFFFFFFFF3F800000, 0x000FFFFFFFFFFFFF, 0x0010000000000000),
    *(0x41E0000000000000, 0xC1E0000000200000, 0x43E0000000000000, 0xFFFFFFFF4F000000, 0x3FE0000000000000),
    *(0xBFE0000000000000, 0x4004000000000000),
]
"""Signs, overflows, NaN boxing, infinities, subnormals, ties and the bounds of conversions."""
_PRIVILEGED = frozenset({"ecall", "wfi", "mret", "sret"})
_NAMES = [n for n, d in INSTRUCTIONS.items() if d.extension != "Zicsr" and n not in _PRIVILEGED]
_OTHER_IN_QEMU = ("cbo.", "sc.", "lr.", "sfence", "sinval", "wrs", "fence.i")
"""QEMU user mode is another environment for these: envcfg, reservations and privilege are its own."""


def random_value(source: random.Random) -> int:
    """64 bits: a corner case, an address in or near the scratch memory, or anything."""
    kind = source.random()
    if kind < 0.3:
        return source.choice(CORNERS)
    if kind < 0.5:
        return SCRATCH_ADDRESS + source.randrange(8192 + 64) - 32
    return source.getrandbits(source.randrange(1, 65) if kind < 0.6 else 64)


def random_word(source: random.Random, encoding: Encoding) -> int:
    """The instruction with random fields."""
    while True:
        word = encoding.match
        for field in encoding.fields:
            for move in field.moves:
                word |= source.getrandbits(move.width) << move.source
        if encoding.matches(word) and word != int.from_bytes(ECALL, "little"):
            return word


def random_case(source: random.Random) -> Case:
    """One to twenty instructions, anywhere in their pages, some across the pages' border."""
    code = b""
    for _ in range(source.choice([1, 1, 1, 4, 20])):
        if source.random() < 0.25:
            short = COMPRESSED[source.choice(list(COMPRESSED))]
            code += random_word(source, short.encoding).to_bytes(2, "little")
        else:
            name = source.choice(_NAMES)
            code += random_word(source, INSTRUCTIONS[name].encoding).to_bytes(4, "little")
    if ECALL in code:
        return random_case(source)
    x = [0] + [random_value(source) for _ in range(31)]
    f = [random_value(source) for _ in range(32)]
    fcsr = source.randrange(32) | source.choice([0, 0, 0, 1, 2, 3, 4, 5]) << 5
    offset = source.choice([0, 0, 2, 4096 - 2 - len(code) // 4 * 2, 4094])
    return Case(code, x, f, fcsr, source.randbytes(8192), offset)


def _listing(case: Case) -> list[str]:
    lines, at = [], 0
    while at < len(case.code):
        word = int.from_bytes(case.code[at : at + 4].ljust(4, b"\0"), "little")
        decoded = decode(word)
        lines.append(f"{decoded.instruction.name} {decoded.operands}" if decoded else f"{word:#x}")
        at += 4 if word & 3 == 3 else 2
    return lines


def describe(case: Case) -> str:
    """The program and where it lies, for a report."""
    return "\n".join([f"offset {case.code_offset:#x}, fcsr {case.fcsr:#x}", *_listing(case)])


def comparable_with_qemu(case: Case) -> bool:
    """Whether QEMU user mode is the same environment for this program.

    A jump into the middle of an instruction may meet any bits, so that programs with jumps are left out too.
    """
    jumps = ("jal", "beq", "bne", "blt", "bge")
    return not any(line.startswith((*_OTHER_IN_QEMU, *jumps)) for line in _listing(case))
