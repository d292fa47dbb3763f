# SPDX-License-Identifier: Apache-2.0
"""The host's terminal: raw mode that is always undone, and its size."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from types import FrameType

DEFAULT_SIZE = (80, 24)
"""Columns and rows of something that is not a terminal."""


def is_terminal(fd: int) -> bool:
    """Whether `fd` is a terminal (False for a closed descriptor)."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def terminal_size(fd: int) -> tuple[int, int]:
    """Columns and rows of the terminal `fd`, `DEFAULT_SIZE` if it is none or does not know."""
    try:
        size = os.get_terminal_size(fd)
    except (OSError, ValueError):
        return DEFAULT_SIZE
    return (size.columns, size.lines) if size.columns and size.lines else DEFAULT_SIZE


@contextlib.contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """Raw mode while the body runs, the former settings afterwards, however the body ends.

    Also restored before SIGTERM and SIGHUP end the process (only when entered from the main thread, where
    Python allows signal handlers). Nothing happens when `fd` is not a terminal.
    """
    try:
        saved = termios.tcgetattr(fd)
    except (termios.error, OSError, ValueError):
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.callback(_restore, fd, saved)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                stack.enter_context(_exit_on(number))
        tty.setraw(fd, termios.TCSANOW)
        yield


def _restore(fd: int, settings: list[object]) -> None:
    with contextlib.suppress(termios.error, OSError):  # the terminal is gone
        termios.tcsetattr(fd, termios.TCSADRAIN, settings)  # type: ignore[arg-type]


@contextlib.contextmanager
def _exit_on(number: int) -> Iterator[None]:
    """Turn the signal into SystemExit in the main thread, so that clean-up runs."""

    def leave(received: int, _: FrameType | None) -> None:
        raise SystemExit(128 + received)

    with _handler(number, leave):
        yield


@contextlib.contextmanager
def on_resize(changed: Callable[[], None]) -> Iterator[None]:
    """Call `changed` in the main thread whenever the terminal's size changed; no-op in other threads."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handler(signal.SIGWINCH, lambda _number, _frame: changed()):
        yield


@contextlib.contextmanager
def _handler(number: int, action: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    former = signal.signal(number, action)
    try:
        yield
    finally:
        signal.signal(number, former if former is not None else signal.SIG_DFL)
