# SPDX-License-Identifier: Apache-2.0
"""What a run comes to: linear algebra counts as CPU-bound too, the boot as neither."""

from __future__ import annotations

import pytest

from innkeeper.bench.results import Row
from innkeeper.bench.summary import groups, lines, rows_of

ROWS = [
    Row("sieve", "cpu", 1.0, 5, peer_s=1.0),
    Row("matmul", "float", 1.0, 5, peer_s=4.0),
    Row("fork", "os", 2.0, 5, peer_s=1.0),
    Row("boot", "boot", 1.0, 5, peer_s=2.0),
]


def test_groups() -> None:
    found = groups(ROWS)
    assert found["cpu"].geometric_mean == pytest.approx(2) and found["cpu"].slowest == "sieve"
    assert found["float"].speeds == {"matmul": 4}
    assert found["os"].speeds == {"fork": 0.5}
    assert found["boot"].speeds == {"boot": 2}


def test_without_a_peer_there_is_nothing_to_say() -> None:
    alone = [Row("sieve", "cpu", 1.0, 5)]
    assert groups(alone) == {} and lines(alone) == [] and rows_of(alone) == {}


def test_cold_means_stand_beside() -> None:
    rows = [Row("sieve", "cpu", 1.0, 5, peer_s=4.0, cold_s=2.0)]
    assert rows_of(rows)["cpu_cold"] == {
        "geometric_mean_speed": 2,
        "minimum_speed": 2,
        "slowest": "sieve",
        "speeds": {"sieve": 2},
    }
