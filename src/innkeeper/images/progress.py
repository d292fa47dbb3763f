# SPDX-License-Identifier: Apache-2.0
"""What long work reports to. The command line draws bars from it; `SILENT` draws nothing."""

from types import TracebackType
from typing import Literal, Protocol

Unit = Literal["bytes", "steps"]


class ProgressTask(Protocol):
    """One running piece of work. Its methods may be called from any thread."""

    def advance(self, amount: int) -> None:
        """Add `amount` units; negative when work has to be done again."""

    def finish(self) -> None:
        """End the task, whether it succeeded or not. Called exactly once."""


class Progress(Protocol):
    """Where tasks are announced. Must be safe to call from several threads."""

    def task(self, title: str, total: int | None, unit: Unit) -> ProgressTask:
        """Announce work of `total` units; None if how much is not known."""


class _SilentTask:
    def advance(self, amount: int) -> None:
        pass

    def finish(self) -> None:
        pass


class _Silent:
    def task(self, title: str, total: int | None, unit: Unit) -> ProgressTask:
        return _SilentTask()


SILENT: Progress = _Silent()


class reporting:
    """Context manager: the task of `progress.task(...)`, finished when the block is left."""

    def __init__(self, progress: Progress, title: str, total: int | None, unit: Unit) -> None:
        self._task = progress.task(title, total, unit)

    def __enter__(self) -> ProgressTask:
        return self._task

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.finish()
