# SPDX-License-Identifier: Apache-2.0
"""Moving and comparing bytes and NUL-terminated strings."""

from __future__ import annotations

from innkeeper.guest_agent.subset import agent, load8, load64, store8, store64
from innkeeper.ir.native import M64

NEWLINE, COLON, COMMA, SLASH, EQUALS = 10, 58, 44, 47, 61
DIGIT_0, DIGIT_9 = 48, 57


@agent
def copy_bytes(to: int, source: int, size: int) -> int:
    """Copy upwards: right for ranges that overlap if `to` is the lower one."""
    done = 0
    while done + 8 <= size:
        store64(to + done, load64(source + done))
        done += 8
    while done < size:
        store8(to + done, load8(source + done))
        done += 1
    return 0


@agent
def zero_bytes(to: int, size: int) -> int:
    """Set to zero."""
    for i in range(size):
        store8(to + i, 0)
    return 0


@agent
def length_of(string: int) -> int:
    """Bytes before the NUL."""
    n = 0
    while load8(string + n):
        n += 1
    return n


@agent
def copy_text(to: int, source: int, limit: int) -> int:
    """Copy a string without its NUL, up to address `limit`; returns where it ended."""
    while to < limit and load8(source):
        store8(to, load8(source))
        to += 1
        source += 1
    return to


@agent
def begins_with(string: int, start: int) -> int:
    """Whether `string` begins with the string `start`."""
    while load8(start):
        if load8(string) != load8(start):
            return 0
        string += 1
        start += 1
    return 1


@agent
def is_same(one: int, other: int) -> int:
    """Whether two strings are equal."""
    while load8(one) == load8(other):
        if not load8(one):
            return 1
        one += 1
        other += 1
    return 0


@agent
def next_string(string: int, end: int) -> int:
    """Behind the string that begins here; 0 if it has no NUL before `end`."""
    while string < end:
        if not load8(string):
            return string + 1
        string += 1
    return 0


@agent
def has_byte(string: int, wanted: int) -> int:
    """Whether a string has this byte in it."""
    while load8(string):
        if load8(string) == wanted:
            return 1
        string += 1
    return 0


@agent
def number_of(string: int) -> int:
    """The decimal number below 2**32 that a string is; M64 if it is none."""
    if not load8(string):
        return M64
    value = 0
    while load8(string):
        if load8(string) < DIGIT_0 or load8(string) > DIGIT_9 or value >> 32:
            return M64
        value = value * 10 + load8(string) - DIGIT_0
        string += 1
    return M64 if value >> 32 else value


@agent
def cut(string: int, end: int, at: int) -> int:
    """Put a NUL over the next byte `at` from `string` on, or at `end`; returns the address behind it."""
    while string < end and load8(string) != at:
        string += 1
    store8(string, 0)
    return string + 1
