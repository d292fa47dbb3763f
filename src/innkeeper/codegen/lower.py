# SPDX-License-Identifier: Apache-2.0
"""Lowers traced values to LLVM IR text: integer operations.

Says to LLVM what `innkeeper.ir.evaluate` says in Python. Floating point is in `lower_float`.
"""

from __future__ import annotations

from innkeeper.ir.value import Bits, Expr, Value

_PLAIN = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
_SHIFT = {"shl": "shl", "lshr": "lshr", "ashr": "ashr"}
_COMPARE = {"eq": "eq", "ne": "ne", "ult": "ult", "slt": "slt"}
_COUNT = {"clz": "ctlz", "ctz": "cttz"}


class Emitter:
    """Collects the lines of one LLVM function; values are emitted once, where first used."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.rare: list[str] = []
        """Blocks off the usual path: put behind all others, so that code falls through on the usual one."""
        self.predicts = False
        """Whether a branch that is nearly never taken is better than a selection: in long functions it is."""
        self.count = 0
        self.known: dict[int, str] = {}
        self.kept: list[Value] = []

    def emit(self, text: str) -> str:
        """A new value holding `text`."""
        self.count += 1
        name = f"%v{self.count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """A line without a value."""
        self.lines.append(f"  {text}")

    def label(self, prefix: str) -> str:
        """A new label's name."""
        self.count += 1
        return f"{prefix}{self.count}"

    def finish(self) -> list[str]:
        """The whole body."""
        return self.lines + self.rare

    def define(self, node: Value, name: str) -> None:
        """Let `node` be the LLVM value `name` from here on."""
        self.known[id(node)] = name
        self.kept.append(node)  # an id is only unique while its object lives

    def value(self, node: Value) -> str:
        """The LLVM value (a name or a number) of `node`."""
        if isinstance(node, Bits):
            return str(node.value)
        name = self.known.get(id(node))
        if name is None:
            if not isinstance(node, Expr):
                raise TypeError(f"cannot lower {node!r}")
            name = self.lower(node)
            self.define(node, name)
        return name

    def lower(self, node: Expr) -> str:
        """Emit one pure operation."""
        op, width = node.op, node.width
        args = [self.value(a) for a in node.args]
        from_type = f"i{node.args[0].width}" if node.args else ""
        if op in _PLAIN:
            return self.emit(f"{_PLAIN[op]} i{width} {args[0]}, {args[1]}")
        if op in _SHIFT:
            amount = self.emit(f"and i{width} {args[1]}, {width - 1}")
            return self.emit(f"{_SHIFT[op]} i{width} {args[0]}, {amount}")
        if op in _COMPARE:
            return self.emit(f"icmp {_COMPARE[op]} {from_type} {args[0]}, {args[1]}")
        if op in ("zext", "sext", "trunc"):
            return self.emit(f"{op} {from_type} {args[0]} to i{width}")
        if op == "select":
            return self.emit(f"select i1 {args[0]}, i{width} {args[1]}, i{width} {args[2]}")
        if op in _COUNT:
            return self.emit(f"call i{width} @llvm.{_COUNT[op]}.i{width}(i{width} {args[0]}, i1 false)")
        if op == "popcount":
            return self.emit(f"call i{width} @llvm.ctpop.i{width}(i{width} {args[0]})")
        if op == "bswap":
            return self.emit(f"call i{width} @llvm.bswap.i{width}(i{width} {args[0]})")
        if op in ("udiv", "urem", "sdiv", "srem"):
            return self.divide(op, width, args[0], args[1])
        raise TypeError(f"cannot lower {op}")

    def divide(self, op: str, width: int, a: str, b: str) -> str:
        """RISC-V's total division: the host's would trap on zero and on overflow."""
        kind = f"i{width}"
        zero = self.emit(f"icmp eq {kind} {b}, 0")
        bad = zero
        if op[0] == "s":
            lowest = self.emit(f"icmp eq {kind} {a}, {1 << (width - 1)}")
            minus_one = self.emit(f"icmp eq {kind} {b}, -1")
            bad = self.emit(f"or i1 {zero}, {self.emit(f'and i1 {lowest}, {minus_one}')}")
        divisor = self.emit(f"select i1 {bad}, {kind} 1, {kind} {b}")
        result = self.emit(f"{op} {kind} {a}, {divisor}")
        by_zero = "-1" if op.endswith("div") else a
        return self.emit(f"select i1 {zero}, {kind} {by_zero}, {kind} {result}")
