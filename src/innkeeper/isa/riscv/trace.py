# SPDX-License-Identifier: Apache-2.0
"""Runs a definition on symbols and records what it does, in order.

The record is a list of `Expr`s: reads, memory accesses, floating-point operations, writes and at most one
transfer of control. It is what the stencils are made from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from innkeeper.ir.value import Expr, Operand, Value, constant
from innkeeper.isa.riscv.definition import Instruction

REGISTER_OPERANDS = frozenset({"rd", "rs1", "rs2", "rs3"})
MAY_TRAP = frozenset({"load", "store", "amo", "load_reserved", "store_conditional"})
CONTROL = frozenset({"jump", "branch", "system"})


class DefinitionError(Exception):
    """A definition breaks a rule of `innkeeper.isa.riscv.hart`; found when tracing, never at run time."""


@dataclass
class Trace:
    """What one instruction does. Leaves are `pc`, `next_pc`, `operand` and `number` (attr: operand name)."""

    name: str
    effects: list[Expr] = field(default_factory=list)

    @property
    def control(self) -> Expr | None:
        """The jump, branch or system call in it, or None."""
        return next((e for e in self.effects if e.op in CONTROL), None)

    def all(self, op: str) -> list[Expr]:
        """The effects that are an `op`."""
        return [e for e in self.effects if e.op == op]


def trace(definition: Instruction, rm: int | None = None) -> Trace:
    """Trace `definition`, with its rounding mode fixed to `rm` where it has one."""
    hart = TracedHart(definition.name)
    arguments: list[object] = []
    for operand in definition.operands:
        if operand == "rm":
            if rm is None:
                raise DefinitionError(f"{definition.name} needs a rounding mode")
            arguments.append(rm)
        elif operand in REGISTER_OPERANDS:
            arguments.append(operand)
        else:
            arguments.append(Expr("operand", 64, attr=operand))
    definition.execute(hart, *arguments)
    return hart.trace


class _TracedRegisters:
    def __init__(self, hart: TracedHart, letter: str) -> None:
        self.hart = hart
        self.letter = letter

    def __getitem__(self, register: str) -> Value:
        return self.hart.effect(f"read_{self.letter}", 64, attr=register)

    def __setitem__(self, register: str, value: Operand) -> None:
        self.hart.effect(f"write_{self.letter}", 64, constant(value, 64), attr=register)


class TracedHart:
    """The hart on symbols; implements `innkeeper.isa.riscv.hart.Hart`."""

    def __init__(self, name: str) -> None:
        self.trace = Trace(name)
        self.x = _TracedRegisters(self, "x")
        self.f = _TracedRegisters(self, "f")
        self.pc: Value = Expr("pc", 64)
        self.next_pc: Value = Expr("next_pc", 64)

    def effect(self, op: str, width: int, *args: Value, attr: object = None) -> Expr:
        """Record one effect after checking the order rules."""
        before = self.trace.effects
        written = any(e.op in ("write_x", "write_f", "raise_flags") for e in before)
        if written and (op.startswith("read_") or op in MAY_TRAP):
            raise DefinitionError(f"{self.trace.name}: {op} after a write")
        ended = any(e.op in CONTROL for e in before)
        if ended and not (op == "write_x" and args and args[0] is before[-1]):
            raise DefinitionError(f"{self.trace.name}: {op} after the transfer of control")
        node = Expr(op, width, args, attr)
        before.append(node)
        return node

    def number(self, register: str) -> Value:
        return Expr("number", 64, attr=register)

    def load(self, address: Value, width: int) -> Value:
        return self.effect("load", width, address)

    def store(self, address: Value, value: Value) -> None:
        self.effect("store", value.width, address, value)

    def load_reserved(self, address: Value, width: int) -> Value:
        return self.effect("load_reserved", width, address)

    def store_conditional(self, address: Value, value: Value) -> Value:
        return self.effect("store_conditional", 64, address, value)

    def amo(self, operation: str, address: Value, value: Value) -> Value:
        return self.effect("amo", value.width, address, value, attr=operation)

    def jump(self, target: Value) -> None:
        self.effect("jump", 64, target)

    def branch(self, condition: Value, target: Value) -> None:
        self.effect("branch", 64, condition, target)

    def system(self, function: Callable[..., int], *arguments: Operand) -> Value:
        words = [constant(a, 64) for a in arguments]
        return self.effect("system", 64, *words, attr=function.__name__)

    def fence(self, predecessor: Value, successor: Value) -> None:
        self.effect("fence", 64, predecessor, successor)

    def fadd(self, a: Value, b: Value, rm: int) -> Value:
        return self.effect("fadd", a.width, a, b, attr=rm)

    def fsub(self, a: Value, b: Value, rm: int) -> Value:
        return self.effect("fsub", a.width, a, b, attr=rm)

    def fmul(self, a: Value, b: Value, rm: int) -> Value:
        return self.effect("fmul", a.width, a, b, attr=rm)

    def fdiv(self, a: Value, b: Value, rm: int) -> Value:
        return self.effect("fdiv", a.width, a, b, attr=rm)

    def fsqrt(self, a: Value, rm: int) -> Value:
        return self.effect("fsqrt", a.width, a, attr=rm)

    def fma(self, a: Value, b: Value, c: Value, rm: int) -> Value:
        return self.effect("fma", a.width, a, b, c, attr=rm)

    def feq(self, a: Value, b: Value) -> Value:
        return self.effect("feq", 1, a, b)

    def flt(self, a: Value, b: Value) -> Value:
        return self.effect("flt", 1, a, b)

    def fle(self, a: Value, b: Value) -> Value:
        return self.effect("fle", 1, a, b)

    def float_to_int(self, a: Value, width: int, signed: bool, rm: int) -> Value:
        return self.effect("float_to_int", width, a, attr=(signed, rm))

    def int_to_float(self, a: Value, signed: bool, width: int, rm: int) -> Value:
        return self.effect("int_to_float", width, a, attr=(signed, rm))

    def float_to_float(self, a: Value, width: int, rm: int) -> Value:
        return self.effect("float_to_float", width, a, attr=rm)

    def raise_flags(self, flags: Value) -> None:
        self.effect("raise_flags", 64, flags)
