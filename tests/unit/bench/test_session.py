# SPDX-License-Identifier: Apache-2.0
"""The course of a benchmark, with sides that answer from a script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from innkeeper.bench import session
from innkeeper.bench.session import Session, plan, rounds_of_boots, run_bench
from innkeeper.bench.side import CodeCacheState, GuestRun, Sides, TimedLine
from innkeeper.errors import ConfigError, GuestError
from innkeeper.images import BootFiles


class ScriptedSide:
    """Answers as the guest's program would, `time_ns` for each run."""

    def __init__(
        self,
        name: str,
        time_ns: int,
        log: list[str],
        *,
        ends: bool = True,
        code_cache: CodeCacheState = "",
    ) -> None:
        self.name = name
        self.code_cache = code_cache
        self.version = name
        self._time_ns = time_ns
        self._log = log
        self._ends = ends

    def run(self, guest: GuestRun, on_line: Callable[[TimedLine], None]) -> None:
        self._log.append(self.name)
        _, rounds, *names = guest.command
        on_line(TimedLine("innkeeper-bench start", self._time_ns))
        for _ in range(int(rounds)):
            for name in names:
                on_line(TimedLine(f"innkeeper-bench result {name} {self._time_ns} 00", 0))
        if self._ends:
            on_line(TimedLine("innkeeper-bench end", 0))


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BootFiles:
    monkeypatch.setattr(session, "compile_program", lambda: b"\x7fELF")
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"")
    return BootFiles(kernel=tmp_path / "Image", initrd=initrd, append="quiet", root_disk=None)


def test_sides_alternate_and_each_workload_runs_as_often(boot: BootFiles) -> None:
    log: list[str] = []
    sides = Sides(ScriptedSide("a", 20, log), ScriptedSide("b", 10, log))
    report = run_bench(sides, [Session("small", boot, ["sieve", "fork_exit"], True)], repeats=7)
    assert log == ["a", "b"] * 5
    assert {name: len(times) for name, times in report.ours.times_ns.items()} == {
        "boot": 5,
        "sieve": 7,
        "fork_exit": 7,
    }
    assert report.geometric_mean_speed == pytest.approx(0.5)
    assert [row.kind for row in report.measurements()] == ["cpu", "os", "boot"]


def test_all_sides_find_their_place(boot: BootFiles) -> None:
    sides = Sides(
        ours=ScriptedSide("warm", 10, [], code_cache="warm"),
        peer=ScriptedSide("peer", 40, []),
        cold=ScriptedSide("cold", 20, [], code_cache="cold"),
        native=ScriptedSide("native", 2, []),
    )
    report = run_bench(sides, [Session("small", boot, ["sieve"], True)], repeats=1)
    sieve, cold, warm = report.measurements()
    assert (sieve.speed, sieve.cold_speed, sieve.native_factor) == pytest.approx((4, 2, 5))
    assert (cold.name, cold.speed, warm.name, warm.speed) == ("boot_cold", 2, "boot_warm", 4)


def test_with_an_empty_cache_each_run_has_a_boot_of_its_own() -> None:
    assert rounds_of_boots(7, [ScriptedSide("a", 1, [])]) == [2, 2, 1, 1, 1]
    assert rounds_of_boots(7, [ScriptedSide("a", 1, [], code_cache="cold")]) == [1] * 7


def test_a_guest_that_stops_early_is_an_error(boot: BootFiles) -> None:
    one = Session("small", boot, ["sieve"], True)
    with pytest.raises(GuestError, match="before its workloads had ended"):
        run_bench(Sides(ScriptedSide("a", 1, [], ends=False)), [one], repeats=1)


def test_progress_ends_at_its_total(boot: BootFiles) -> None:
    seen: list[tuple[int, int]] = []
    one = Session("small", boot, ["sieve"], True)
    run_bench(
        Sides(ScriptedSide("a", 1, [])),
        [one],
        repeats=4,
        report=lambda title, done, total: seen.append((done, total)),
    )
    assert seen[-1] == (8, 8)
    assert seen == sorted(seen)


def test_plan_leaves_images_out_with_a_note(boot: BootFiles) -> None:
    sessions, notes = plan(None, lambda name: boot if name == "small" else None)
    assert [one.image for one in sessions] == ["small"]
    assert "inn images pull debian" in notes[0] and "python3_start" in notes[0]
    assert "inn images pull build" in notes[1] and "gcc" in notes[1]
    every, none = plan(None, lambda name: boot)
    assert [(one.image, one.count_boot) for one in every] == [
        ("small", True),
        ("debian", False),
        ("build", False),
    ]
    assert none == []


def test_plan_with_nothing_left_says_what_is_missing(boot: BootFiles) -> None:
    with pytest.raises(ConfigError, match="inn images pull build"):
        plan(["gcc"], lambda name: None)


def test_plan_refuses_an_unknown_name(boot: BootFiles) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        plan(["sieve", "nonsense"], lambda name: boot)


def test_at_least_one_repeat(boot: BootFiles) -> None:
    with pytest.raises(ConfigError):
        run_bench(Sides(ScriptedSide("a", 1, [])), [Session("small", boot, ["sieve"], True)], repeats=0)
