# SPDX-License-Identifier: Apache-2.0
"""Results: what is taken from the guest's lines, and what the table says of it."""

from __future__ import annotations

import json

import pytest

from innkeeper.bench.report import Report
from innkeeper.bench.results import BOOT, SideResults
from innkeeper.bench.side import LineSplitter, TimedLine
from innkeeper.errors import GuestError


class StepClock:
    def __init__(self) -> None:
        self.time_ns = 0

    def now_ns(self) -> int:
        return self.time_ns


def side(name: str, factor: int, *, checksum: str = "aa") -> SideResults:
    results = SideResults(name, f"{name} 1.0")
    lines = [TimedLine("innkeeper-bench start", 2_000_000_000 * factor)]
    lines += [TimedLine(f"innkeeper-bench result sieve {ns * factor} {checksum}", 0) for ns in (10, 30, 2000)]
    lines += [TimedLine(f"innkeeper-bench result fork {100 * factor * factor} bb", 0)]
    for line in [*lines, TimedLine("something else", 0), TimedLine("innkeeper-bench end", 0)]:
        results.take(line, count_boot=True)
    return results


def test_median_and_speed_against_the_peer() -> None:
    report = Report(side("ours", 2), side("peer", 1))
    by_name = {row.name: row for row in report.measurements()}
    assert by_name["sieve"].ours_s == pytest.approx(60e-9)
    assert by_name["sieve"].speed == pytest.approx(0.5)
    assert by_name["fork"].speed == pytest.approx(0.25)
    assert by_name[BOOT].speed == pytest.approx(0.5)
    assert [row.name for row in report.measurements()][-1] == BOOT
    assert report.geometric_mean_speed == pytest.approx((0.5 * 0.25) ** 0.5)
    assert report.wrong == []


def test_alone_there_is_no_speed() -> None:
    report = Report(side("ours", 1), None)
    assert report.geometric_mean_speed is None
    assert all(row.speed is None for row in report.measurements())
    assert "sieve" in report.table() and "speed" not in report.table()


def test_another_checksum_is_seen() -> None:
    report = Report(side("ours", 1), side("peer", 1, checksum="cc"))
    assert report.wrong == ["sieve"]
    assert "WRONG" in report.table()
    assert [row["same_checksum"] for row in report.rows() if row["name"] == "sieve"] == [False]


def test_the_bare_host_is_a_column() -> None:
    native = SideResults("native", "native (cc 1.0)")
    native.take(TimedLine("innkeeper-bench result sieve 10 aa", 0), count_boot=True)
    report = Report(side("ours", 1), side("peer", 1), native=native, kinds={"fork": "os"})
    by_name = {row.name: row for row in report.measurements()}
    assert by_name["sieve"].native_factor == pytest.approx(3)
    assert by_name["fork"].native_factor is None
    assert "native (s)" in report.table()
    assert report.rows()[0]["native_factor"] == 3 and report.rows()[1]["native_seconds"] is None
    native.checksums["sieve"].add("dd")
    assert report.wrong == ["sieve"]


def test_summary_by_kind() -> None:
    report = Report(side("ours", 1), side("peer", 2), kinds={"fork": "os"})
    assert report.rows()[-1]["cpu"] == {
        "geometric_mean_speed": 2,
        "minimum_speed": 2,
        "slowest": "sieve",
        "speeds": {"sieve": 2},
    }
    text = report.table()
    assert "CPU-bound: geometric mean 2.00, slowest 2.00 (sieve)." in text
    assert "OS-bound: fork 4.00." in text and "Boot: boot 2.00." in text
    assert "Linear algebra" not in text


def test_cold_and_warm() -> None:
    ours, cold = side("ours", 1), side("ours", 2)
    ours.code_cache, cold.code_cache = "warm", "cold"
    report = Report(ours, side("peer", 2), cold=cold)
    assert [row.name for row in report.measurements()] == ["sieve", "fork", "boot_cold", "boot_warm"]
    assert "Boot: boot_cold 1.00, boot_warm 2.00." in report.table()
    assert "slowest 1.00 (sieve), with an empty code cache." in report.table()
    assert report.rows()[0]["cold_speed"] == 1


def test_rows_are_json() -> None:
    rows = json.loads(json.dumps(Report(side("ours", 1), side("peer", 1), ["a note"]).rows()))
    assert rows[-1]["notes"] == ["a note"]
    assert rows[-1]["peer"] == "peer 1.0"


def test_a_failed_workload_is_an_error() -> None:
    with pytest.raises(GuestError, match="sieve failed"):
        SideResults("x", "x").take(TimedLine("innkeeper-bench failed sieve 256", 0), count_boot=True)


@pytest.mark.parametrize(
    "text",
    ["innkeeper-bench result", "innkeeper-bench result a -1 b", "innkeeper-bench result a b c d e", ""],
)
def test_damaged_lines_are_ignored(text: str) -> None:
    results = SideResults("x", "x")
    results.take(TimedLine(text, 0), count_boot=True)
    assert not results.times_ns


def test_lines_are_timed_by_their_end() -> None:
    clock, lines = StepClock(), list[TimedLine]()
    splitter = LineSplitter(clock, 5, lines.append)
    clock.time_ns = 15
    splitter.feed(b"one\r\ntw")
    clock.time_ns = 25
    splitter.feed(b"o\nrest")
    assert lines == [TimedLine("one", 10), TimedLine("two", 20)]
