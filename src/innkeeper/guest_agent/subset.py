# SPDX-License-Identifier: Apache-2.0
"""What the agent's functions are written with: the native subset, memory at addresses, and system calls.

They are not registered with `innkeeper.ir.native`: what is there belongs to the engines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from innkeeper.ir.native import M64

Function = TypeVar("Function", bound=Callable[..., int])
ERRORS = M64 - 4095
"""A system call's result from here on is a negative errno."""

AGENT: list[Callable[..., int]] = []
"""Every function of the agent."""


def agent(function: Function) -> Function:
    """Mark `function` as a part of the agent."""
    AGENT.append(function)
    return function


def load8(address: int) -> int:
    """The byte at an address."""
    raise _only_compiled()


def load16(address: int) -> int:
    """16 bits, little-endian, at any address; likewise below."""
    raise _only_compiled()


def load32(address: int) -> int:
    """32 bits."""
    raise _only_compiled()


def load64(address: int) -> int:
    """64 bits."""
    raise _only_compiled()


def store8(address: int, value: int) -> int:
    """Low 8 bits of `value`; returns 0, as all stores do."""
    raise _only_compiled()


def store16(address: int, value: int) -> int:
    """Low 16 bits."""
    raise _only_compiled()


def store32(address: int, value: int) -> int:
    """Low 32 bits."""
    raise _only_compiled()


def store64(address: int, value: int) -> int:
    """64 bits."""
    raise _only_compiled()


def system_call(number: int, a: int, b: int, c: int, d: int, e: int, f: int) -> int:
    """The kernel's answer; from `ERRORS` on a negative errno."""
    raise _only_compiled()


def clone_process(flags: int, stack: int, argument: int) -> int:
    """clone(2): the child goes on in `child_entry(argument)`, on `stack`, or on its own if that is 0."""
    raise _only_compiled()


@agent
def call1(number: int, a: int) -> int:
    """System call with one argument; likewise below."""
    return system_call(number, a, 0, 0, 0, 0, 0)


@agent
def call2(number: int, a: int, b: int) -> int:
    """Two arguments."""
    return system_call(number, a, b, 0, 0, 0, 0)


@agent
def call3(number: int, a: int, b: int, c: int) -> int:
    """Three arguments."""
    return system_call(number, a, b, c, 0, 0, 0)


@agent
def call4(number: int, a: int, b: int, c: int, d: int) -> int:
    """Four arguments."""
    return system_call(number, a, b, c, d, 0, 0)


@agent
def errno_of(result: int) -> int:
    """The errno in a result, 0 if it is none."""
    return (0 - result) & M64 if result >= ERRORS else 0


@agent
def least(a: int, b: int) -> int:
    """The smaller one."""
    return a if a < b else b


def _only_compiled() -> TypeError:
    return TypeError("this exists only in the compiled agent")
