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

from innkeeper.ir.native import words_at

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
        self.assign(node.targets[0], self.value(node.value))

    def do_AugAssign(self, node: ast.AugAssign) -> None:
        target = ast.copy_location(ast.parse(ast.unparse(node.target), mode="eval").body, node)
        value = self.value(ast.copy_location(ast.BinOp(target, node.op, node.value), node))
        self.assign(node.target, value)

    def assign(self, target: ast.expr, value: str) -> None:
        if isinstance(target, ast.Name):
            if target.id in self.pointers:
                raise self.fail(target, "a Words parameter cannot be assigned")
            self.lines.append(f"  store i64 {value}, ptr {self.slot(target.id)}")
        elif isinstance(target, ast.Subscript):
            self.lines.append(f"  store i64 {value}, ptr {self.element(target)}")
        else:
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
        if not isinstance(node.target, ast.Name) or len(call.args) > 2:
            raise self.fail(node, "range(stop) or range(start, stop)")
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
        if not isinstance(node.value, int):
            raise self.fail(node, "only integers")
        return str(self.wrap(int(node.value)))

    @staticmethod
    def wrap(value: int) -> int:
        return value & (1 << 64) - 1

    def get_Name(self, node: ast.Name) -> str:
        if node.id in self.slots:
            return self.emit(f"load i64, ptr {self.slots[node.id]}")
        known: Any = self.function.__globals__.get(node.id)
        if isinstance(known, int):
            return str(self.wrap(int(known)))
        raise self.fail(node, f"{node.id} is no local set before and no integer of the module")

    def get_Attribute(self, node: ast.Attribute) -> str:
        if isinstance(node.value, ast.Name):
            known: Any = getattr(self.function.__globals__.get(node.value.id), node.attr, None)
            if isinstance(known, int):
                return str(self.wrap(int(known)))
        raise self.fail(node, f"{ast.unparse(node)} is no integer of a module")

    def get_BinOp(self, node: ast.BinOp) -> str:
        op = _BINARY.get(type(node.op))
        if op is None:
            raise self.fail(node, f"{type(node.op).__name__} is not in the subset")
        left, right = self.value(node.left), self.value(node.right)
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
        op = _COMPARE.get(type(node.ops[0]))
        if op is None:
            raise self.fail(node, f"{type(node.ops[0]).__name__} is not in the subset")
        left, right = self.value(node.left), self.value(node.comparators[0])
        return self.emit(f"icmp {op} i64 {left}, {right}")

    def get_Compare(self, node: ast.Compare) -> str:
        operands = [node.left, *node.comparators]
        result = ""
        for i, op in enumerate(node.ops):
            bit = self.comparison(ast.copy_location(ast.Compare(operands[i], [op], [operands[i + 1]]), node))
            result = bit if not result else self.emit(f"and i1 {result}, {bit}")
        return self.emit(f"zext i1 {result} to i64")

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
