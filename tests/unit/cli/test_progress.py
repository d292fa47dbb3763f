# SPDX-License-Identifier: Apache-2.0
"""Progress: lines where there is no terminal, bars where there is one, nothing left behind."""

from __future__ import annotations

import io
import threading

import pytest

from innkeeper.cli.progress import ProgressDisplay


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_lines_at_every_quarter() -> None:
    stream = io.StringIO()
    with ProgressDisplay(stream) as progress:
        task = progress.task("downloading linux", 1000, "bytes")
        for _ in range(100):
            task.advance(10)
        task.finish()
    assert _lines(stream) == [
        "inn: downloading linux",
        "inn: downloading linux, 25 %",
        "inn: downloading linux, 50 %",
        "inn: downloading linux, 75 %",
        "inn: downloading linux, 100 %",
    ]


def test_unknown_total_and_going_back() -> None:
    stream = io.StringIO()
    with ProgressDisplay(stream) as progress:
        task = progress.task("waiting", None, "steps")
        task.advance(5)
        again = progress.task("again", 4, "steps")
        for amount in (4, -4, 4, 100):
            again.advance(amount)
    assert _lines(stream) == ["inn: waiting", "inn: again", "inn: again, 100 %"]


def test_reports_are_one_task() -> None:
    stream = io.StringIO()
    with ProgressDisplay(stream) as progress:
        for done, what in enumerate(["parse", "compile", "link", "write", "write"]):
            progress.report(what, done, 4)
        progress.report("cached", 3, 3)
        progress.report_step(0, 2, "boot")
    assert _lines(stream) == [
        "inn: parse",
        "inn: compile, 25 %",
        "inn: link, 50 %",
        "inn: write, 75 %",
        "inn: write, 100 %",
        "inn: boot",
    ]


def test_what_is_done_at_once_is_not_shown() -> None:
    stream = Terminal()
    with ProgressDisplay(stream) as progress:
        progress.report("cached", 7, 7)
    assert stream.getvalue() == ""


def test_bars_are_taken_off() -> None:
    stream = Terminal()
    with ProgressDisplay(stream) as progress:
        task = progress.task("compiling [all]", 10, "steps")
        task.advance(3)
        progress.clear()
        shown = stream.getvalue()
        task.advance(1)
        task.finish()
        task.finish()
    assert "compiling [all]" in shown
    assert stream.getvalue() == shown, "after clear nothing of a task appears"


def test_the_terminal_is_free_after_the_last_task() -> None:
    stream = Terminal()
    with ProgressDisplay(stream) as progress:
        progress.report("downloading", 0, 2)
        first = progress.task("unpacking", None, "steps")
        progress.report("downloading", 2, 2)
        first.finish()
        shown = stream.getvalue()
        assert shown.rstrip("\r").endswith("\x1b[2K\x1b[?25h"), "the line is erased, the cursor shown"
        progress.report("booting", 0, 2)
        assert "booting" in stream.getvalue()


def test_tasks_from_several_threads() -> None:
    stream = io.StringIO()
    with ProgressDisplay(stream) as progress:
        tasks = [progress.task(f"t{number}", 1000, "steps") for number in range(4)]
        threads = [threading.Thread(target=lambda t=t: [t.advance(1) for _ in range(1000)]) for t in tasks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [task.done for task in tasks] == [1000] * 4


def test_stderr_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as progress:
        progress.report("boot", 0, 0)
    assert capsys.readouterr() == ("", "inn: boot\n")
