# SPDX-License-Identifier: Apache-2.0
"""Translated code that must not change for a while, for a thread that is no hart's: around a fork."""

from __future__ import annotations

from innkeeper.codegen.layout import SHARED
from innkeeper.ir.native import Words, native, words_at
from innkeeper.runtime.code import drop_all_code, lock, unlock


@native
def hold_code(h: Words) -> int:
    """Take the lock, so that no code changes, for a thread that is no hart's; `h` is a block of its own."""
    return lock(h, words_at(h[SHARED]))


@native
def release_code(h: Words) -> int:
    """Undo `hold_code`."""
    return unlock(words_at(h[SHARED]))


@native
def drop_held_code(h: Words) -> int:
    """`drop_all_code` between `hold_code` and `release_code`."""
    return drop_all_code(h, words_at(h[SHARED]))
