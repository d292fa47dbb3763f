# SPDX-License-Identifier: Apache-2.0
"""How a command ends: its exit status, and one line that says why it failed."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TextIO

from innkeeper.errors import InnkeeperError

STATUS_ERROR = 2
"""A wrong argument, a missing file, an unreachable mirror: what `InnkeeperError` stands for."""
STATUS_DEFECT = 70
"""An exception that nobody expected: EX_SOFTWARE of sysexits.h."""
STATUS_TIMEOUT = 124
"""The guest's command did not end in time, as timeout(1) has it."""
STATUS_INTERRUPTED = 128 + signal.SIGINT
STATUS_BROKEN_PIPE = 128 + signal.SIGPIPE

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

DEBUG_VARIABLE = "INNKEEPER_DEBUG"

REMEDY_OF_ERRNO = {
    errno.ENOSPC: "free some space, or point XDG_CACHE_HOME to a disk that has some",
    errno.EDQUOT: "free some space, or point XDG_CACHE_HOME to a disk that has some",
    errno.EROFS: "point XDG_CACHE_HOME to a folder that can be written",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.ENOENT: "check the name",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "check the name",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
    errno.ENOMEM: "give the guest less memory with --memory",
}
"""Errors of the operating system that are the host's and no defects, where no part explained them better."""


def exit_status(command: Callable[[], int]) -> int:
    """Run `command` and return its status; what it raises becomes one line on stderr and a status.

    With INNKEEPER_DEBUG=1 the traceback is printed too.
    """
    try:
        with _ended_by_signals(), warnings.catch_warnings():
            warnings.showwarning = _say_warning
            status = command()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return STATUS_INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more when it ends; there must be something to flush to.
        _discard_stdout()
        return STATUS_BROKEN_PIPE
    except Exception as failure:
        if os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0"):
            traceback.print_exc()
        message, status = _explain(failure)
        say(message)
        return status


def say(message: str) -> None:
    """Print `inn: message` on stderr, in one line whatever the message holds."""
    line = " ".join(message.split())
    visible = "".join(character if character.isprintable() else "\ufffd" for character in line)
    with contextlib.suppress(OSError, ValueError):
        # A guest may have the terminal in raw mode, where a line feed alone does not go back to the margin.
        end = "\r\n" if sys.stderr.isatty() else "\n"
        print(f"inn: {visible}", file=sys.stderr, end=end, flush=True)


def _say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    say(str(message))


def _explain(failure: Exception) -> tuple[str, int]:
    if isinstance(failure, InnkeeperError):
        return str(failure), STATUS_ERROR
    if isinstance(failure, MemoryError):
        return "the host has not enough memory (give the guest less with --memory)", STATUS_ERROR
    if isinstance(failure, OSError) and failure.errno in REMEDY_OF_ERRNO:
        place = f": {failure.filename}" if failure.filename else ""
        return f"{failure.strerror}{place} ({REMEDY_OF_ERRNO[failure.errno]})", STATUS_ERROR
    hint = f"this is a defect of Innkeeper; {DEBUG_VARIABLE}=1 shows the traceback to report"
    return f"unexpected {type(failure).__name__}: {failure} ({hint})", STATUS_DEFECT


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let signals unwind the stack, so that the terminal is restored and nothing is left behind.

    Off the main thread whoever called decides what signals do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    former = {number: signal.signal(number, leave) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _discard_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
