# SPDX-License-Identifier: Apache-2.0
"""Ctrl-] q."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.host.terminal_escape import EscapeFilter


@pytest.mark.parametrize(
    ("typed", "sent", "left"),
    [
        (b"ls\r", b"ls\r", 0),
        (b"\x1dq", b"", 1),
        (b"ab\x1dqcd", b"ab", 1),
        (b"\x1d\x1d", b"\x1d", 0),
        (b"\x1dx", b"\x1dx", 0),
        (b"\x1d\x1dq", b"\x1dq", 0),
        (b"\x1d", b"", 0),
    ],
)
def test_escape(typed: bytes, sent: bytes, left: int) -> None:
    for pieces in ([typed], [bytes((byte,)) for byte in typed]):
        leaving: list[int] = []
        escape = EscapeFilter(lambda leaving=leaving: leaving.append(1))  # type: ignore[misc]
        result = b""
        for piece in pieces:
            result += escape.feed(piece)
            if leaving:
                break
        assert (result, len(leaving)) == (sent, left)


@given(st.binary().filter(lambda data: b"\x1d" not in data))
def test_everything_else_passes(typed: bytes) -> None:
    assert EscapeFilter(lambda: pytest.fail("left")).feed(typed) == typed
