# SPDX-License-Identifier: Apache-2.0
"""Processes of VMMs: starting and finding them, waiting for their end, whoever's children they are."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from innkeeper.errors import HostError
from innkeeper.host.processes import end_process, is_process, open_process, process_start_ticks

LOG_LIMIT_BYTES = 1 << 20
"""A longer log of a VMM is begun anew by the next one."""
_STATUSES_KEPT = 1024
_POLL_S = 0.2
"""How often processes are looked at on hosts whose kernel has no pidfd."""


@dataclass(frozen=True)
class Process:
    """A process for good: pids are used again, together with the start time they are not."""

    pid: int
    start_ticks: int

    def is_alive(self) -> bool:
        return is_process(self.pid, self.start_ticks)

    def kill(self) -> None:
        """SIGKILL; nothing happens if it has ended."""
        end_process(self.pid, self.start_ticks)


class Children:
    """The processes that the hypervisor has started, and as process 1 those that others left behind."""

    def __init__(self) -> None:
        self._statuses: dict[int, int] = {}

    def start(self, command: Sequence[str], log: Path) -> Process:
        """Start `command` in a session of its own, with its output at the end of `log`. HostError if not."""
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(descriptor).st_size > LOG_LIMIT_BYTES:
                    os.truncate(descriptor, 0)
                child = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor,
                    start_new_session=True, cwd="/",
                )  # fmt: skip
            finally:
                os.close(descriptor)
        except OSError as error:
            raise HostError(
                f"the VMM cannot be started: {error}", "free memory, or raise ulimit -u"
            ) from error
        # Its status is taken by `_reap`; without this Popen would warn of a child that still runs.
        child.returncode = 0
        return Process(child.pid, process_start_ticks(child.pid) or 0)

    async def wait(self, process: Process) -> int | None:
        """Return once `process` has ended: its exit status (negative: a signal) if it was ours, else None."""
        try:
            descriptor = open_process(process.pid, process.start_ticks)
        except OSError:
            while process.is_alive():
                await asyncio.sleep(_POLL_S)
            return self._reap(process.pid)
        if descriptor is not None:
            await _readable(descriptor)
        return self._reap(process.pid)

    def reap_all(self) -> None:
        """Take the status of every child that has ended; process 1 is given those of others too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._statuses[pid] = os.waitstatus_to_exitcode(status)
            while len(self._statuses) > _STATUSES_KEPT:
                del self._statuses[next(iter(self._statuses))]

    def _reap(self, pid: int) -> int | None:
        try:
            reaped, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return self._statuses.pop(pid, None)
        return os.waitstatus_to_exitcode(status) if reaped else None


def find_process(argument: str, taken: Container[int]) -> Process | None:
    """A process of this user with `argument` on its command line, other than those with pids in `taken`."""
    wanted = os.fsencode(argument)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in taken:
            continue
        try:
            if entry.stat().st_uid != os.geteuid():
                continue
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        start_ticks = process_start_ticks(int(entry.name))
        if wanted in words and start_ticks is not None:
            return Process(int(entry.name), start_ticks)
    return None


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, _set_done, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
