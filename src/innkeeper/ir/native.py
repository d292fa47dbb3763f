# SPDX-License-Identifier: Apache-2.0
"""The subset of Python in which the parts that must be fast are written once.

A function marked `@native` is ordinary Python: the reference engine calls it as it stands. The jit engine
has it compiled ahead of time (`innkeeper.codegen.native`). For both to mean the same, it keeps to this:

- every value is an unsigned 64-bit word, `0 <= v < 2**64`; booleans are 0 and 1. What could leave that range
  is masked: `(a + b) & M64`, `(a - b) & M64`, `(a << n) & M64`, `~a & M64`. `>>`, `//`, `%` and comparisons
  are unsigned; shift amounts are below 64;
- a parameter annotated `Words` is a block of words: `h[i]`, `h[i] = v`. All others are words (`int`);
- statements: assignment to names and `h[i]`, augmented assignment, `if`, `while`, `for i in range(...)`,
  `break`, `continue`, `return`, `pass`, calls. Expressions: arithmetic, comparisons (also chained),
  `and`/`or`/`not`, `a if c else b`, calls of other `@native` functions, names of module-level integers.
  No tuples, strings, closures or keyword arguments; a function returns one word (0 where nothing is said);
- what only the surroundings can do (memory, clock, host floating-point state) is an `@intrinsic`: its Python
  body serves the reference engine, the jit engine provides its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

M64 = (1 << 64) - 1
"""All ones in a word."""


class Words(Protocol):
    """A block of unsigned 64-bit words, indexed from 0.

    In Python a `HartWords` (state plus what the intrinsics need), compiled a pointer.
    """

    def __getitem__(self, index: int, /) -> int: ...

    def __setitem__(self, index: int, value: int, /) -> None: ...


def words_at(address: int) -> Words:
    """The words at a host address, as an argument for a `Words` parameter. Only in compiled code."""
    raise TypeError("host addresses exist only in compiled code")


Function = TypeVar("Function", bound=Callable[..., int])

NATIVE: dict[str, Callable[..., int]] = {}
"""Every `@native` function by its name; names are unique over the program."""

INTRINSIC: dict[str, Callable[..., int]] = {}
"""Every `@intrinsic` function by its name."""


def native(function: Function) -> Function:
    """Mark `function` as written in the subset; it is returned unchanged."""
    return _register(NATIVE, function)


def intrinsic(function: Function) -> Function:
    """Mark `function` as provided by the engine; its Python body is the reference engine's."""
    return _register(INTRINSIC, function)


def _register(table: dict[str, Callable[..., int]], function: Function) -> Function:
    name = function.__name__
    known: Any = NATIVE.get(name) or INTRINSIC.get(name)
    if known is not None and known.__module__ != function.__module__:
        raise ValueError(f"{name} is defined in {known.__module__} and in {function.__module__}")
    table[name] = function
    return function
