# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: SIM201, SIM208
"""Functions in the native subset, one for each thing that it has. They are compiled, and run as they stand.

`h` has 8 words. They are not marked `@native`: the engine would compile them too.
"""

from __future__ import annotations

import sys
from types import ModuleType

from innkeeper.ir.native import M64, Words

SEVEN = 7
BIG = M64
YES = True
here: ModuleType = sys.modules[__name__]


def arithmetic(h: Words, a: int, b: int, c: int) -> int:
    """Every operator of two operands, with constants on both sides."""
    h[0] = (a + b) & M64
    h[1] = (a - b) & M64
    h[2] = (a * b) & M64
    h[3] = a // (b | 1)
    h[4] = a % (b | 1)
    h[5] = (a & b) ^ (a | c) ^ 5
    h[6] = a << (b & 63) & M64
    h[7] = a >> (b & 63)
    return (SEVEN * a + BIG - 3 + here.SEVEN) & M64


def unary(h: Words, a: int, b: int, c: int) -> int:
    """Complement, and `not` of words and comparisons."""
    h[0] = ~a & M64
    h[1] = not a
    h[2] = not a == b
    h[3] = not (a and b)
    h[4] = not not c
    return ~(a ^ b) & 0xFF | YES << 9


def comparisons(h: Words, a: int, b: int, c: int) -> int:
    """All are of unsigned words; a chain stops at the first that fails."""
    h[0] = (a == b) + 2 * (a != b) + 4 * (a < b) + 8 * (a <= b) + 16 * (a > b) + 32 * (a >= b)
    h[1] = a < b < c
    h[2] = a <= b == b >= c
    h[3] = 0 < b <= c // b
    h[4] = bump(h, 5) < bump(h, 5) < bump(h, 5)
    h[6] = a < bump(h, 7) < b < bump(h, 7)
    return a < 1 << 63


def bump(h: Words, i: int) -> int:
    """Count how often it is called."""
    h[i] = (h[i] + 1) & M64
    return h[i]


def decides(h: Words, a: int, b: int, c: int) -> int:
    """and, or and if-else give an operand, and evaluate no more than they need."""
    h[0] = a and b
    h[1] = a or b
    h[2] = (a and b) or c
    h[3] = a or (b and c) or 9
    h[4] = (a & 1) and bump(h, 5)
    h[6] = (b & 1) or bump(h, 5) or bump(h, 5)
    h[7] = bump(h, 7) if c & 1 else (bump(h, 5) if a & 1 else 3)
    return (a < b and c) or (a if b and not c else 11)


def choices(h: Words, a: int, b: int, c: int) -> int:
    """if, elif, else, nested, with returns and empty branches."""
    result = 1
    if a < b:
        result = 2
        if b < c:
            return 3
        elif b == c:
            pass
        else:
            result += 10
    elif a == b:
        h[0] = 5
    else:
        if c:
            result ^= c
        else:
            return (result - 2) & M64
    if (a & 1 and b & 1) or c & 1:
        result = (result + 100) & M64
    return result


def while_loop(h: Words, a: int, b: int, c: int) -> int:
    """continue, break and return inside."""
    n = a & 31
    total = 0
    while n:
        n -= 1
        if n == b & 15:
            continue
        if n == c & 31:
            break
        if total > 60:
            return total
        total += n
    while 1:
        total += 1
        if total & 1:
            break
    return total * 100 + n


def for_loop(h: Words, a: int, b: int, c: int) -> int:
    """The bounds are evaluated once; the variable may be assigned, and keeps its last value."""
    stop = a & 15
    total = 0
    i = 77
    for i in range(stop):
        total += i
        stop = 3
        i += 100
        h[0] = i
    h[1] = i
    for j in range(b & 7, (c & 15) + bump(h, 2) % 9):
        if j == 5:
            continue
        if j == 12:
            break
        for k in range(j):
            if k == 3:
                break
            total += k
    for _unused in range(9, 9):
        total += 1000
    for _unused in range(10, 9):
        total += 1000
    return total


def in_place(h: Words, a: int, b: int, c: int) -> int:
    """Every augmented assignment; an index is evaluated once."""
    v = a
    v += b & 0xFF
    v &= M64
    v ^= c
    v |= 1
    v >>= 3
    v //= 3
    v %= 1 << 40
    v *= 5
    v <<= 2
    v -= 1 if v else 0
    h[0] = v
    h[1 + bump(h, 7) % 3] ^= 5
    h[bump(h, 7) % 3] ^= a
    return v


def order(h: Words, a: int, b: int, c: int) -> int:
    """Operands from left to right, the value before the place."""
    h[6] = a & 7
    h[7] = b & 7
    h[bump(h, 7) % 4] = bump(h, 7) * 10 + bump(h, 7)
    return bump(h, 7) * 1000 + bump(h, 7) * 100 + (bump(h, 7) if bump(h, 7) & 1 else bump(h, 6))


def blocks(h: Words, a: int, b: int, c: int) -> int:
    """Indexes of all kinds; a block handed on."""
    h[a & 7] = b
    h[(a + 1) & 7] = h[a & 7] ^ c
    h[SEVEN] = helper(h, a & 7, b) & M64
    nothing(h)
    h[5] = helper(h, 3, 4)
    return nothing(h)


def helper(h: Words, i: int, value: int) -> int:
    """A function with parameters of both kinds; its own names are its own."""
    total = h[i] ^ value
    h[i] = value
    i = 2
    return (total + i) & M64


def nothing(h: Words) -> int:
    """Returns 0 where nothing is said."""
    h[6] = h[6] ^ 1
    if h[6]:
        return  # type: ignore[return-value]


def gcd(h: Words, a: int, b: int, c: int) -> int:
    """It calls itself."""
    return gcd(h, b, a % b, c) if b else a


TESTED = [
    arithmetic, unary, comparisons, decides, choices, while_loop, for_loop, in_place, order, blocks, gcd,
]  # fmt: skip
CALLED = [bump, helper, nothing]
