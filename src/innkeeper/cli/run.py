# SPDX-License-Identifier: Apache-2.0
"""`inn run`: a guest with the terminal attached, or one command in it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence

from innkeeper.cli.failures import STATUS_TIMEOUT, say
from innkeeper.cli.parts import GuestOptions, Parts
from innkeeper.cli.progress import ProgressDisplay

STDIN, STDOUT, STDERR = 0, 1, 2


def run_command(parts: Parts, options: GuestOptions, command: Sequence[str]) -> int:
    """Run `command` in a guest, its output streams to ours; returns its status, 124 if it took too long."""
    with ProgressDisplay() as progress, parts.machine(options, progress) as machine:
        result = machine.run(
            command,
            stdin=STDIN if _is_open(STDIN) else None,
            stdout=_forward_to(STDOUT, progress),
            stderr=_forward_to(STDERR, progress),
        )
    if result.timed_out:
        _say_timed_out("command", options.timeout_s or 0)
        return STATUS_TIMEOUT
    return result.returncode


def run_attached(parts: Parts, options: GuestOptions) -> int:
    """Attach this terminal to a guest until it powers off or the user leaves."""
    with ProgressDisplay() as progress, parts.machine(options, progress) as machine:
        if sys.stdin is not None and sys.stdin.isatty():
            say("Ctrl-] q leaves the guest")
        status = machine.run_console(STDIN, STDOUT)
    if status == STATUS_TIMEOUT and options.timeout_s is not None:
        _say_timed_out("guest", options.timeout_s)
    return status


def _say_timed_out(what: str, timeout_s: float) -> None:
    say(f"the {what} did not end within {timeout_s:g} s (give it more with --timeout)")


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _forward_to(descriptor: int, progress: ProgressDisplay) -> Callable[[bytes], None]:
    """What writes the guest's bytes to `descriptor`, unbuffered; called by a thread of the machine.

    BrokenPipeError if nobody reads any longer, which ends the machine's `run`.
    """
    first = threading.Event()

    def forward(data: bytes) -> None:
        if not first.is_set():
            first.set()
            progress.clear()
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    return forward
