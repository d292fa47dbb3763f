# SPDX-License-Identifier: Apache-2.0
"""The control port's lines, from a guest that may send anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.vmm.control import ControlReader
from innkeeper.vmm.network import random_mac
from innkeeper.vmm.session import last_words


def reader() -> tuple[ControlReader, list[int]]:
    told: list[int] = []
    return ControlReader(told.append), told


@given(st.lists(st.integers(1, 12), max_size=20))
def test_lines_in_any_pieces(cuts: list[int]) -> None:
    control, told = reader()
    data = b"ready\nexit 7\nexit 8\n"
    for cut in cuts:
        control.feed(data[:cut])
        data = data[cut:]
    control.feed(data)
    assert control.is_ready and control.status == 7 and told == [7]


@pytest.mark.parametrize(
    "data",
    [b"exit\n", b"exit -1\n", b"exit 256\n", b"exit 1e1\n", b"exit 0000\n", b"exit \xb2\n", b"exit 7", b"\n"],
)
def test_senseless_lines_are_ignored(data: bytes) -> None:
    control, told = reader()
    control.feed(data)
    assert control.status is None and not told


@given(st.lists(st.binary(max_size=2000), max_size=5))
def test_noise_is_survived_and_bounded(parts: list[bytes]) -> None:
    control, _ = reader()
    for part in parts:
        control.feed(part)
    control.feed(b"\nexit 3\n")
    assert control.status is not None


def test_last_words() -> None:
    assert "its console said nothing" in last_words("\n\n\x1b[0m \n"[:2])
    assert last_words("a\r\nlast \x07\n\n").endswith(": last")
    assert "Kernel panic" in last_words("x\nKernel panic - not syncing: y\n---[ end ]---\n")


def test_mac_addresses_are_local_and_unicast() -> None:
    assert {random_mac()[0] & 3 for _ in range(50)} == {2}
