# SPDX-License-Identifier: Apache-2.0
"""A hart's words with a little RAM around them, for tests of native functions and of single instructions."""

from __future__ import annotations

from innkeeper.engines.reference.ram import RamSurroundings
from innkeeper.engines.reference.step import step
from innkeeper.isa.riscv.decoder import decode
from innkeeper.isa.riscv.definition import INSTRUCTIONS
from innkeeper.isa.riscv.reset import reset_words
from innkeeper.isa.riscv.state import HART_WORDS, PC, PMP_ACTIVE, PRIV, X
from innkeeper.isa.riscv.surroundings import HartWords
from innkeeper.spec.riscv import PRIV_M

RAM_BASE = 0x8000_0000
RAM_BYTES = 1 << 20
CODE = RAM_BASE + 0x1000
"""Where tests put instructions."""


class PlainRam:
    """Guest RAM in a bytearray: satisfies `engines.engine.GuestRam` as far as the reference engine goes."""

    def __init__(self, base: int = RAM_BASE, size_bytes: int = RAM_BYTES) -> None:
        self.base = base
        self.size_bytes = size_bytes
        self.host_address = 0
        self.buffer = memoryview(bytearray(size_bytes))

    def put(self, address: int, value: int, size_bytes: int = 8) -> None:
        offset = address - self.base
        self.buffer[offset : offset + size_bytes] = value.to_bytes(size_bytes, "little")

    def get(self, address: int, size_bytes: int = 8) -> int:
        offset = address - self.base
        return int.from_bytes(self.buffer[offset : offset + size_bytes], "little")


class Surroundings(RamSurroundings):
    """Counts what the engine is told."""

    def __init__(self, ram: PlainRam, words: memoryview) -> None:
        self.time_ns = 0
        super().__init__(ram, words, lambda: self.time_ns)
        self.calls: list[tuple[object, ...]] = []

    def translation_changed(self) -> None:
        self.calls.append(("translation_changed",))

    def flush_translations(self, address: int | None, asid: int | None) -> None:
        self.calls.append(("flush_translations", address, asid))

    def flush_code(self) -> None:
        self.calls.append(("flush_code",))

    def configure_float(self) -> None:
        self.calls.append(("configure_float",))


class BareHart:
    """`h` for native functions; `execute` for instructions. Reset into `privilege` at CODE."""

    def __init__(self, privilege: int = PRIV_M) -> None:
        self.ram = PlainRam()
        self.words = memoryview(bytearray(HART_WORDS * 8)).cast("Q")
        self.surroundings = Surroundings(self.ram, self.words)
        self.h = HartWords(self.words, self.surroundings)
        reset_words(self.words, CODE, privilege, 0, 0)

    def enter(self, privilege: int) -> None:
        """Go on in `privilege`, with all memory open to it."""
        self.words[PRIV] = privilege
        self.words[PMP_ACTIVE] = 0

    def execute(self, name: str, **fields: int) -> int:
        """Put one instruction at PC and execute it; the outcome."""
        self.ram.put(self.words[PC], encode(name, **fields), 4)
        return step(self.h, self.surroundings)

    def x(self, register: int) -> int:
        return self.words[X + register]


def encode(name: str, **fields: int) -> int:
    """The instruction's bits; fields that are not given are 0."""
    decode(0)  # registers all definitions
    encoding = INSTRUCTIONS[name].encoding
    word = encoding.match
    for field in encoding.fields:
        word |= field.insert(fields.pop(field.name, 0))
    assert not fields, f"{name} has no {fields}"
    return word
