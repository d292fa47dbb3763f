# SPDX-License-Identifier: Apache-2.0
"""Compiles functions written in the native subset (`innkeeper.ir.native`) to LLVM IR text.

Words become `i64`, `Words` parameters `ptr`; locals are stack slots which LLVM promotes. An intrinsic
becomes a call of a function of its name in the same module: written in LLVM IR by the caller, or another
native function.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from innkeeper.ir.native import M64, words_at

_BINARY = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.FloorDiv: "udiv", ast.Mod: "urem",
    ast.BitAnd: "and", ast.BitOr: "or", ast.BitXor: "xor", ast.LShift: "shl", ast.RShift: "lshr",
}  # fmt: skip
_COMPARE = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "ult", ast.LtE: "ule", ast.Gt: "ugt", ast.GtE: "uge",
}  # fmt: skip
Function = Callable[..., int]


class SubsetError(Exception):
    """A function leaves the native subset; says where. A defect of ours, found when building."""


def compile_functions(
    functions: Iterable[Function], rename: Mapping[str, str], exports: Container[str]
) -> str:
    """LLVM IR of all `functions`; those named in `exports` can be called from outside.

    `rename` maps an intrinsic's name to the function that stands for it here.
    """
    return "\n".join(_FunctionCompiler(f, rename).compile(f.__name__ in exports) for f in functions)


def parameters(function: Function) -> list[tuple[str, bool]]:
    """Each parameter and whether it is a `Words` pointer."""
    return [(n, "Words" in str(p.annotation)) for n, p in inspect.signature(function).parameters.items()]


class _FunctionCompiler:
    def __init__(self, function: Function, rename: Mapping[str, str]) -> None:
        self.function = function
        self.rename = rename
        self.lines: list[str] = []
        self.slots: dict[str, str] = {}
        self.pointers = {n for n, is_pointer in parameters(function) if is_pointer}
        self.count = 0
        self.loops: list[tuple[str, str]] = []

    def compile(self, exported: bool) -> str:
        source = textwrap.dedent(inspect.getsource(self.function))
        tree = ast.parse(source).body[0]
        if not isinstance(tree, ast.FunctionDef):
            raise SubsetError(f"{self.function.__name__} is no function")
        signature = ", ".join(f"{'ptr' if p else 'i64'} %arg.{n}" for n, p in parameters(self.function))
        for name, is_pointer in parameters(self.function):
            if not is_pointer:
                self.lines.append(f"  store i64 %arg.{name}, ptr {self.slot(name)}")
        self.block(tree.body)
        self.lines.append("  ret i64 0")
        linkage = "" if exported else "internal "
        head = f"define {linkage}i64 @{self.function.__name__}({signature}) #0 {{\nentry:"
        allocas = [f"  {slot} = alloca i64" for slot in self.slots.values()]
        return "\n".join([head, *allocas, *self.lines, "}"])

    def slot(self, name: str) -> str:
        return self.slots.setdefault(name, f"%var.{name}")

    def fresh(self, prefix: str = "t") -> str:
        self.count += 1
        return f"%{prefix}{self.count}"

    def emit(self, text: str) -> str:
        name = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return name

    def label(self, name: str) -> None:
        self.lines.append(f"{name[1:]}:")

    def jump(self, label: str) -> None:
        self.lines.append(f"  br label {label}")

    def fail(self, node: ast.AST, what: str) -> SubsetError:
        line = getattr(node, "lineno", 0)
        return SubsetError(f"{self.function.__module__}.{self.function.__name__}, line {line}: {what}")

    # Statements.

    def block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            handler = getattr(self, f"do_{type(statement).__name__}", None)
            if handler is None:
                raise self.fail(statement, f"{type(statement).__name__} is not in the subset")
            handler(statement)

    def do_Pass(self, node: ast.Pass) -> None:
        pass

    def do_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.value(node.value)

    def do_Return(self, node: ast.Return) -> None:
        value = self.value(node.value) if node.value else "0"
        self.lines.append(f"  ret i64 {value}")
        self.label(self.fresh("dead"))

    def do_Assign(self, node: ast.Assign) -> None:
        if len(node.targets) != 1:
            raise self.fail(node, "one target")
        value = self.value(node.value)
        self.lines.append(f"  store i64 {value}, ptr {self.place(node.targets[0])}")

    def do_AugAssign(self, node: ast.AugAssign) -> None:
        pointer = self.place(node.target)
        left = self.emit(f"load i64, ptr {pointer}")
        value = self.operation(node, node.op, left, self.value(node.value))
        self.lines.append(f"  store i64 {value}, ptr {pointer}")

    def place(self, target: ast.expr) -> str:
        """Where an assignment goes; its index is evaluated here, once."""
        if isinstance(target, ast.Name):
            if target.id in self.pointers:
                raise self.fail(target, "a Words parameter cannot be assigned")
            return self.slot(target.id)
        if isinstance(target, ast.Subscript):
            return self.element(target)
        raise self.fail(target, "assign to a name or h[i]")

    def do_If(self, node: ast.If) -> None:
        yes, no, end = self.fresh("then"), self.fresh("else"), self.fresh("end")
        self.lines.append(f"  br i1 {self.truth(node.test)}, label {yes}, label {no}")
        for label, body in ((yes, node.body), (no, node.orelse)):
            self.label(label)
            self.block(body)
            self.jump(end)
        self.label(end)

    def do_While(self, node: ast.While) -> None:
        if node.orelse:
            raise self.fail(node, "a loop has no else")
        head, body, end = self.fresh("while"), self.fresh("body"), self.fresh("end")
        self.jump(head)
        self.label(head)
        self.lines.append(f"  br i1 {self.truth(node.test)}, label {body}, label {end}")
        self.label(body)
        self.loop_body(node.body, head, end)
        self.jump(head)
        self.label(end)

    def do_For(self, node: ast.For) -> None:
        call = node.iter
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range"):
            raise self.fail(node, "for ... in range(...)")
        if not isinstance(node.target, ast.Name) or len(call.args) not in (1, 2) or call.keywords:
            raise self.fail(node, "range(stop) or range(start, stop)")
        if node.orelse or node.target.id in self.pointers:
            raise self.fail(node, "a loop has no else, and its variable is a word")
        bounds = [self.value(a) for a in call.args]
        start, stop = ("0", bounds[0]) if len(bounds) == 1 else (bounds[0], bounds[1])
        index = self.slot(node.target.id)
        hidden = self.slot(f".for{self.count}")  # Python's loop variable may be assigned inside the body
        self.lines.append(f"  store i64 {start}, ptr {hidden}")
        head, body, step, end = (self.fresh(p) for p in ("for", "body", "step", "end"))
        self.jump(head)
        self.label(head)
        current = self.emit(f"load i64, ptr {hidden}")
        test = self.emit(f"icmp ult i64 {current}, {stop}")
        self.lines.append(f"  br i1 {test}, label {body}, label {end}")
        self.label(body)
        self.lines.append(f"  store i64 {current}, ptr {index}")
        self.loop_body(node.body, step, end)
        self.jump(step)
        self.label(step)
        following = self.emit(f"add i64 {current}, 1")
        self.lines.append(f"  store i64 {following}, ptr {hidden}")
        self.jump(head)
        self.label(end)

    def loop_body(self, body: list[ast.stmt], on_continue: str, on_break: str) -> None:
        self.loops.append((on_continue, on_break))
        self.block(body)
        self.loops.pop()

    def do_Break(self, node: ast.Break) -> None:
        self.jump(self.loops[-1][1])
        self.label(self.fresh("dead"))

    def do_Continue(self, node: ast.Continue) -> None:
        self.jump(self.loops[-1][0])
        self.label(self.fresh("dead"))

    # Expressions.

    def value(self, node: ast.expr) -> str:
        handler = getattr(self, f"get_{type(node).__name__}", None)
        if handler is None:
            raise self.fail(node, f"{type(node).__name__} is not in the subset")
        result: str = handler(node)
        return result

    def truth(self, node: ast.expr) -> str:
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self.comparison(node)
        return self.emit(f"icmp ne i64 {self.value(node)}, 0")

    def get_Constant(self, node: ast.Constant) -> str:
        return self.word(node, node.value)

    def word(self, node: ast.expr, value: object) -> str:
        if not isinstance(value, int) or not 0 <= value <= M64:
            raise self.fail(node, f"{value!r} is no word")
        return str(int(value))

    def get_Name(self, node: ast.Name) -> str:
        if node.id in self.slots:
            return self.emit(f"load i64, ptr {self.slots[node.id]}")
        known: Any = self.function.__globals__.get(node.id)
        if isinstance(known, int):
            return self.word(node, known)
        raise self.fail(node, f"{node.id} is no local set before and no integer of the module")

    def get_Attribute(self, node: ast.Attribute) -> str:
        if isinstance(node.value, ast.Name):
            known: Any = getattr(self.function.__globals__.get(node.value.id), node.attr, None)
            if isinstance(known, int):
                return self.word(node, known)
        raise self.fail(node, f"{ast.unparse(node)} is no integer of a module")

    def get_BinOp(self, node: ast.BinOp) -> str:
        left = self.value(node.left)
        return self.operation(node, node.op, left, self.value(node.right))

    def operation(self, node: ast.AST, operator: ast.operator, left: str, right: str) -> str:
        op = _BINARY.get(type(operator))
        if op is None:
            raise self.fail(node, f"{type(operator).__name__} is not in the subset")
        return self.emit(f"{op} i64 {left}, {right}")

    def get_UnaryOp(self, node: ast.UnaryOp) -> str:
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            raise self.fail(node, "a negative number is no word")
        operand = self.value(node.operand)
        if isinstance(node.op, ast.Invert):
            return self.emit(f"xor i64 {operand}, -1")
        if isinstance(node.op, ast.Not):
            return self.emit(f"zext i1 {self.emit(f'icmp eq i64 {operand}, 0')} to i64")
        raise self.fail(node, "only ~ and not")

    def comparison(self, node: ast.Compare) -> str:
        left = self.value(node.left)
        return self.compare(node, node.ops[0], left, self.value(node.comparators[0]))

    def compare(self, node: ast.Compare, operator: ast.cmpop, left: str, right: str) -> str:
        op = _COMPARE.get(type(operator))
        if op is None:
            raise self.fail(node, f"{type(operator).__name__} is not in the subset")
        return self.emit(f"icmp {op} i64 {left}, {right}")

    def get_Compare(self, node: ast.Compare) -> str:
        """Also a chain: each operand is evaluated once, and none behind the first comparison that fails."""
        if len(node.ops) == 1:
            return self.emit(f"zext i1 {self.comparison(node)} to i64")
        slot, end = self.slot(f".chain{self.count}"), self.fresh("end")
        left = self.value(node.left)
        for operator, operand in zip(node.ops, node.comparators, strict=True):
            right = self.value(operand)
            bit = self.compare(node, operator, left, right)
            self.lines.append(f"  store i64 {self.emit(f'zext i1 {bit} to i64')}, ptr {slot}")
            following = self.fresh("more")
            self.lines.append(f"  br i1 {bit}, label {following}, label {end}")
            self.label(following)
            left = right
        self.jump(end)
        self.label(end)
        return self.emit(f"load i64, ptr {slot}")

    def get_BoolOp(self, node: ast.BoolOp) -> str:
        return self.choose(node.values, isinstance(node.op, ast.And))

    def choose(self, values: list[ast.expr], is_and: bool) -> str:
        """Python's and/or: the operand that decides."""
        slot, end = self.slot(f".bool{self.count}"), self.fresh("end")
        for i, operand in enumerate(values):
            result = self.value(operand)
            self.lines.append(f"  store i64 {result}, ptr {slot}")
            if i + 1 < len(values):
                following = self.fresh("more")
                test = self.emit(f"icmp ne i64 {result}, 0")
                yes, no = (following, end) if is_and else (end, following)
                self.lines.append(f"  br i1 {test}, label {yes}, label {no}")
                self.label(following)
        self.jump(end)
        self.label(end)
        return self.emit(f"load i64, ptr {slot}")

    def get_IfExp(self, node: ast.IfExp) -> str:
        slot = self.slot(f".if{self.count}")
        yes, no, end = self.fresh("then"), self.fresh("else"), self.fresh("end")
        self.lines.append(f"  br i1 {self.truth(node.test)}, label {yes}, label {no}")
        for label, branch in ((yes, node.body), (no, node.orelse)):
            self.label(label)
            self.lines.append(f"  store i64 {self.value(branch)}, ptr {slot}")
            self.jump(end)
        self.label(end)
        return self.emit(f"load i64, ptr {slot}")

    def element(self, node: ast.Subscript) -> str:
        if not isinstance(node.value, ast.Name) or node.value.id not in self.pointers:
            raise self.fail(node, "only Words parameters can be indexed")
        return self.emit(f"getelementptr i64, ptr %arg.{node.value.id}, i64 {self.value(node.slice)}")

    def get_Subscript(self, node: ast.Subscript) -> str:
        return self.emit(f"load i64, ptr {self.element(node)}")

    def get_Call(self, node: ast.Call) -> str:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise self.fail(node, "call functions by name with positional arguments")
        target: Any = self.function.__globals__.get(node.func.id)
        if not callable(target):
            raise self.fail(node, f"{node.func.id} is unknown")
        if target is words_at:
            return self.value(node.args[0])
        wanted = parameters(target)
        if len(wanted) != len(node.args):
            raise self.fail(node, f"{node.func.id} takes {len(wanted)} arguments")
        arguments = [self.argument(a, pointer) for a, (_, pointer) in zip(node.args, wanted, strict=True)]
        name = self.rename.get(target.__name__, target.__name__)
        return self.emit(f"call i64 @{name}({', '.join(arguments)})")

    def argument(self, node: ast.expr, wants_pointer: bool) -> str:
        if isinstance(node, ast.Name) and node.id in self.pointers:
            if wants_pointer:
                return f"ptr %arg.{node.id}"
            raise self.fail(node, "a Words block where a word is needed: use address_of")
        value = self.value(node)
        return f"ptr {self.emit(f'inttoptr i64 {value} to ptr')}" if wants_pointer else f"i64 {value}"
