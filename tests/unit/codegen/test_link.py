# SPDX-License-Identifier: Apache-2.0
"""Linked code calls what is far away and what is near, and finds its constants, wherever it is put."""

from __future__ import annotations

import ctypes

import pytest

from innkeeper.codegen.link import link
from innkeeper.codegen.llvm import compile_object
from innkeeper.errors import HostError
from tests.unit.codegen.linked import linked

CALLS = """
declare i64 @labs(i64)
define i64 @near(i64 %a) noinline { %r = mul i64 %a, 3 ret i64 %r }
define i64 @far(i64 %a) { %r = call i64 @labs(i64 %a) %s = call i64 @near(i64 %r) ret i64 %s }
define i64 @where(i64 %a) { ret i64 ptrtoint (ptr @labs to i64) }
"""
SWITCH = "define i64 @choose(i64 %a) { switch i64 %a, label %other [ {cases} ]\n{blocks}\nother: ret i64 99 }"
TABLE = """
@table = private constant [2 x ptr] [ptr @one, ptr @two]
define i64 @one(i64 %a) noinline { ret i64 1 }
define i64 @two(i64 %a) noinline { ret i64 2 }
define i64 @through(i64 %a) {
  %p = getelementptr [2 x ptr], ptr @table, i64 0, i64 %a
  %f = load ptr, ptr %p
  %r = call i64 %f(i64 %a)
  ret i64 %r
}
"""
FLOAT = """
define i64 @scale(i64 %a) { %d = sitofp i64 %a to double %e = fmul double %d, 0x400921FB54442D18
  %r = fptosi double %e to i64 ret i64 %r }
"""
VARIABLE = """
@count = global i64 7
define i64 @next(i64 %a) { %n = load i64, ptr @count %m = add i64 %n, %a store i64 %m, ptr @count ret i64 %m }
"""


def test_functions_far_and_near() -> None:
    with linked(CALLS, 1) as functions:
        assert functions["far"]((1 << 64) - 5) == 15
        assert functions["where"](0) == ctypes.cast(ctypes.CDLL(None).labs, ctypes.c_void_p).value


def test_jump_tables() -> None:
    values = {n: n * n * n % 97 for n in range(40)}
    cases = " ".join(f"i64 {n}, label %b{n}" for n in values)
    blocks = "\n".join(
        f"b{n}: %v{n} = mul i64 %a, {v}\n%w{n} = xor i64 %v{n}, {n}\nret i64 %w{n}" for n, v in values.items()
    )
    with linked(SWITCH.replace("{cases}", cases).replace("{blocks}", blocks), 1) as functions:
        assert [functions["choose"](n) for n in (*values, 1000)] == [
            *(n * v ^ n for n, v in values.items()), 99
        ]  # fmt: skip


def test_pointers_among_the_constants() -> None:
    with linked(TABLE, 1) as first, linked(TABLE, 1) as second:
        assert [functions["through"](n) for functions in (first, second) for n in (0, 1)] == [1, 2, 1, 2]


def test_constants_of_floating_point() -> None:
    with linked(FLOAT, 1) as functions:
        assert functions["scale"](1000) == 3141


def test_variables_are_refused() -> None:
    with pytest.raises(HostError, match="variables"):
        link(compile_object(VARIABLE, static=False))
