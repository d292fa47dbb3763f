# SPDX-License-Identifier: Apache-2.0
"""Progress of what takes long, on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TextIO

from innkeeper.cli.sizes import format_size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINES_A_TASK = 4
"""How often a task says how far it is where there is no terminal: at every quarter."""

Unit = Literal["bytes", "steps"]


class DisplayTask:
    """One thing that takes long. Its methods may be called from any thread."""

    def __init__(self, display: ProgressDisplay, title: str, total: int | None, unit: Unit) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.done = 0
        self.shown_quarter = 0
        """The highest one that a line has told; a download that begins again does not tell it twice."""
        self.bar: TaskID | None = None
        self._display = display

    def advance(self, amount: int) -> None:
        """`amount` more units are done."""
        self._display.update(self, self.done + amount)

    def finish(self) -> None:
        """It is over, done or not. May be called more than once."""
        self._display.remove(self)

    @property
    def quarter(self) -> int:
        """How many quarters are done, 0 to 4; 0 if nobody knows how much it is."""
        return LINES_A_TASK * min(self.done, self.total) // self.total if self.total else 0

    @property
    def amount(self) -> str:
        """How much is done, in words."""
        if self.unit == "bytes":
            return f"{format_size(self.done)}" + (f" of {format_size(self.total)}" if self.total else "")
        return f"{100 * min(self.done, self.total) // self.total} %" if self.total else ""


class ProgressDisplay:
    """Shows tasks until they finish; a context manager that leaves the terminal clean.

    Rich is imported with the first task that is shown.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._lock = threading.RLock()
        self._bars: Progress | None = None
        self._reported: DisplayTask | None = None
        self._told: set[str] = set()
        """Lines are told once: what is tried again is no news."""

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def task(self, title: str, total: int | None, unit: Unit) -> DisplayTask:
        """Begin to show `title`, of which `total` units are to be done (None: nobody knows)."""
        task = DisplayTask(self, title, total, unit)
        with self._lock:
            if self._stream.isatty():
                task.bar = self._start_bars().add_task(title, total=total, amount=task.amount)
            else:
                self._print_line(task)
        return task

    def report(self, what: str, done: int, total: int) -> None:
        """`done` of `total` units of `what` are done; a `total` of 0 says that nobody knows how much it is.

        A new `what` with the same `total` and no less `done` is the next step of the same task. A task that
        is done when it is first reported is not shown: nobody waited for it.
        """
        with self._lock:
            task = self._reported
            if task is None or (task.total or 0) != total or done < task.done:
                if task is not None:
                    task.finish()
                self._reported = task = None
                if total and done >= total:
                    return
                self._reported = task = self.task(what, total or None, "steps")
            task.title = what
            self.update(task, done)
            if total and done >= total:
                task.finish()
                self._reported = None

    def report_step(self, done: int, total: int, what: str) -> None:
        """`report` with its arguments in the order in which the engines give them."""
        self.report(what, done, total)

    def update(self, task: DisplayTask, done: int) -> None:
        """`done` units of `task` are done."""
        with self._lock:
            task.done = done
            if self._bars is not None and task.bar is not None:
                self._bars.update(task.bar, description=task.title, completed=done, amount=task.amount)
            elif task.bar is None and task.quarter > task.shown_quarter:
                task.shown_quarter = task.quarter
                self._print_line(task)

    def remove(self, task: DisplayTask) -> None:
        """Show `task` no longer. After the last one the terminal is free for what comes next, the guest."""
        with self._lock:
            if self._bars is None or task.bar not in self._bars.task_ids:
                return
            self._bars.remove_task(task.bar)
            if not self._bars.task_ids:
                self._bars.stop()
                self._bars = None

    def clear(self) -> None:
        """Take the bars off the terminal, before something else is printed there."""
        with self._lock:
            bars, self._bars, self._reported = self._bars, None, None
            if bars is not None:
                bars.stop()

    def _print_line(self, task: DisplayTask) -> None:
        share = f", {100 * task.quarter // LINES_A_TASK} %" if task.quarter else ""
        line = f"inn: {task.title}{share}"
        if line not in self._told:
            self._told.add(line)
            print(line, file=self._stream, flush=True)

    def _start_bars(self) -> Progress:
        if self._bars is None:
            self._bars = _make_bars(self._stream)
            self._bars.start()
        return self._bars


def _make_bars(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[amount]}", markup=False),
        TimeRemainingColumn(),
        console=Console(file=stream),
        transient=True,
    )
