# SPDX-License-Identifier: Apache-2.0
"""What each operation on bit vectors means, on Python integers.

`EVALUATE[op](width, *operands)` where `width` is the first operand's and operands are without sign; the
caller wraps the result. This table is the meaning; `innkeeper.codegen.lower` says the same to LLVM, and a
test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable


def _signed(value: int, width: int) -> int:
    return value - (1 << width) if value >> (width - 1) else value


def _sdiv(width: int, a: int, b: int) -> int:
    x, y = _signed(a, width), _signed(b, width)
    if y == 0:
        return -1
    quotient = abs(x) // abs(y)
    return quotient if (x < 0) == (y < 0) else -quotient


def _srem(width: int, a: int, b: int) -> int:
    x, y = _signed(a, width), _signed(b, width)
    if y == 0:
        return x
    remainder = abs(x) % abs(y)
    return -remainder if x < 0 else remainder


EVALUATE: dict[str, Callable[..., int]] = {
    "add": lambda w, a, b: a + b,
    "sub": lambda w, a, b: a - b,
    "mul": lambda w, a, b: a * b,
    "udiv": lambda w, a, b: a // b if b else -1,
    "urem": lambda w, a, b: a % b if b else a,
    "sdiv": _sdiv,
    "srem": _srem,
    "and": lambda w, a, b: a & b,
    "or": lambda w, a, b: a | b,
    "xor": lambda w, a, b: a ^ b,
    "shl": lambda w, a, b: a << (b & (w - 1)),
    "lshr": lambda w, a, b: a >> (b & (w - 1)),
    "ashr": lambda w, a, b: _signed(a, w) >> (b & (w - 1)),
    "eq": lambda w, a, b: int(a == b),
    "ne": lambda w, a, b: int(a != b),
    "ult": lambda w, a, b: int(a < b),
    "slt": lambda w, a, b: int(_signed(a, w) < _signed(b, w)),
    "zext": lambda w, a: a,
    "trunc": lambda w, a: a,
    "clz": lambda w, a: w - a.bit_length(),
    "ctz": lambda w, a: (a & -a).bit_length() - 1 if a else w,
    "popcount": lambda w, a: a.bit_count(),
    "bswap": lambda w, a: int.from_bytes(a.to_bytes(w // 8, "little"), "big"),
}
