# SPDX-License-Identifier: Apache-2.0
"""Turns what images report into calls of the SDK's `progress(what, done, total)`."""

from __future__ import annotations

import threading

from innkeeper.images import ProgressTask
from innkeeper.images.progress import Unit
from innkeeper.vmm.engine_choice import ReportProgress


class CallbackProgress:
    """Satisfies `images.Progress`."""

    def __init__(self, report: ReportProgress) -> None:
        self._report = report

    def task(self, title: str, total: int | None, unit: Unit) -> ProgressTask:
        """See `images.Progress.task`; the unit is not told."""
        return _Task(self._report, title, total or 0)


class _Task:
    def __init__(self, report: ReportProgress, title: str, total: int) -> None:
        self._report, self._title, self._total = report, title, total
        self._done = 0
        self._lock = threading.Lock()
        report(title, 0, total)

    def advance(self, amount: int) -> None:
        with self._lock:
            self._done += amount
            done = self._done
        self._report(self._title, done, self._total)

    def finish(self) -> None:
        if self._total:
            self._report(self._title, self._total, self._total)
