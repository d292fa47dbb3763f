# SPDX-License-Identifier: Apache-2.0
"""A hart on which definitions run with numbers: the reference meaning of every instruction."""

from __future__ import annotations

from collections.abc import Callable

from innkeeper.engines.reference.access import Aborted, MemoryAccess
from innkeeper.engines.reference.floating import DYNAMIC, FloatingOperations, number_of
from innkeeper.engines.reference.pages import PageCache
from innkeeper.engines.reference.ram import Memory
from innkeeper.ir.native import M64
from innkeeper.ir.value import Bits, Operand, Value, constant
from innkeeper.isa.riscv.decoder import decode
from innkeeper.isa.riscv.state import (
    EXIT_REASON,
    FRM,
    FS_DIRTY,
    MSTATUS,
    OUTCOME_EXIT,
    OUTCOME_NEXT,
    PC,
    RESULT,
    F,
    X,
)
from innkeeper.isa.riscv.surroundings import HartWords
from innkeeper.isa.riscv.trace import REGISTER_OPERANDS
from innkeeper.isa.riscv.traps import raise_illegal
from innkeeper.spec.riscv import MSTATUS_FS

ROUNDING_VALID = 4
"""frm values above are reserved: an instruction that uses frm is illegal then."""
_BOUND_INSTRUCTIONS = 1 << 16

Bound = tuple[Callable[..., None], tuple[object, ...], int, bool, bool]
"""What executes, its arguments, length in bytes, whether it needs FS, whether it uses frm."""

_bound: dict[int, Bound] = {}


def bind(bits: int) -> Bound | None:
    """The instruction with these bits, ready to execute; None if there is none."""
    decoded = decode(bits)
    if decoded is None:
        return None
    arguments: list[object] = []
    for name in decoded.instruction.operands:
        value = decoded.operands[name]
        plain = name in REGISTER_OPERANDS or name == "rm"
        arguments.append(value if plain else Bits(value, 64))
    floating = decoded.instruction.extension in ("F", "D")
    dynamic = decoded.operands.get("rm") == DYNAMIC
    bound = (decoded.instruction.execute, tuple(arguments), decoded.length_bytes, floating, dynamic)
    if len(_bound) >= _BOUND_INSTRUCTIONS:
        _bound.clear()
    _bound[bits] = bound
    return bound


class _Registers:
    def __init__(self, words: memoryview) -> None:
        self._words = words

    def __getitem__(self, register: int) -> Value:
        return Bits(self._words[X + register], 64)

    def __setitem__(self, register: int, value: Operand) -> None:
        if register:
            self._words[X + register] = number_of(constant(value, 64))


class _FloatRegisters:
    def __init__(self, words: memoryview) -> None:
        self._words = words

    def __getitem__(self, register: int) -> Value:
        return Bits(self._words[F + register], 64)

    def __setitem__(self, register: int, value: Operand) -> None:
        self._words[F + register] = number_of(constant(value, 64))
        self._words[FS_DIRTY] = 1


class ReferenceHart(MemoryAccess, FloatingOperations):
    """Implements `innkeeper.isa.riscv.hart.Hart` on numbers, over any block of words.

    `h` holds the words and the surroundings, `memory` the same surroundings as memory. `pages` remembers
    translations and must be told of changes by the surroundings; a new one for each step needs no telling.
    """

    def __init__(self, h: HartWords, memory: Memory, pages: PageCache) -> None:
        super().__init__(h, memory, pages)
        self.x = _Registers(h.words)
        self.f = _FloatRegisters(h.words)
        self.system_called = False
        """Set by every system instruction; whoever looks for interrupts clears it."""
        self._pc = 0
        self._next_pc = 0
        self._target: int | None = 0

    @property
    def pc(self) -> Value:
        return Bits(self._pc, 64)

    @property
    def next_pc(self) -> Value:
        return Bits(self._next_pc, 64)

    def number(self, register: int) -> Value:
        return Bits(register, 64)

    def jump(self, target: Value) -> None:
        self._target = number_of(target)

    def branch(self, condition: Value, target: Value) -> None:
        if number_of(condition):
            self._target = number_of(target)

    def fence(self, predecessor: Value, successor: Value) -> None:
        """Harts take turns, so that everything is in order."""

    def system(self, function: Callable[..., int], *arguments: Operand) -> Value:
        self.system_called = True
        outcome = function(self.h, *(number_of(constant(a, 64)) for a in arguments))
        if outcome != OUTCOME_NEXT:
            if outcome >= OUTCOME_EXIT:
                self.words[EXIT_REASON] = outcome - OUTCOME_EXIT
            raise Aborted(outcome)
        self._target = None
        return Bits(self.words[RESULT], 64)

    def step(self) -> int:
        """Execute the instruction at PC. Returns OUTCOME_NEXT, OUTCOME_TRAP (the trap is taken), or
        OUTCOME_EXIT plus the reason, with the EXIT_* words filled in.

        After MMIO_READ and ECALL the instruction is not yet executed; after every other exit it is.
        """
        words = self.words
        pc = self._pc = words[PC]
        try:
            bits = self.fetch(pc)
            bound = _bound.get(bits) or bind(bits)
            if bound is None:
                return raise_illegal(self.h)
            execute, arguments, length_bytes, floating, dynamic = bound
            if floating and (words[MSTATUS] & MSTATUS_FS == 0 or (dynamic and words[FRM] > ROUNDING_VALID)):
                return raise_illegal(self.h)
            self._target = self._next_pc = (pc + length_bytes) & M64
            self.leaving = 0
            execute(self, *arguments)
        except Aborted as aborted:
            return aborted.outcome
        if self._target is not None:
            words[PC] = self._target
        return self.leaving
