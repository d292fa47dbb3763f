# SPDX-License-Identifier: Apache-2.0
"""Other processes of the host: who they are, whether they are there, and who speaks through a socket."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
from pathlib import Path

_UCRED = struct.Struct("iII")
_STATE, _START_TICKS = 0, 19
"""Fields 3 and 22 of /proc/PID/stat, counted behind the name of the program."""


def process_start_ticks(pid: int) -> int | None:
    """When the process was started, in clock ticks since the host was; None if there is no such process.

    With the pid it names a process for good, as pids are used again. A zombie has ended.
    Source: Linux proc_pid_stat(5), fields 3 and 22.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text("latin-1")
        parts = text[text.rindex(")") + 2 :].split()
        return None if parts[_STATE] in ("Z", "X") else int(parts[_START_TICKS])
    except (OSError, ValueError, IndexError):
        return None


def is_process(pid: int, start_ticks: int) -> bool:
    """Whether the process that was started at `start_ticks` with this pid is still there."""
    return process_start_ticks(pid) == start_ticks


def boot_id() -> str:
    """Names this run of the host's kernel; empty where the host does not say.

    Source: Linux proc_sys_kernel(5), /proc/sys/kernel/random/boot_id.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def peer_user(connection: socket.socket) -> int | None:
    """The user id of the process at the other end of a connected unix socket; None where the host cannot say.

    Source: Linux unix(7), SO_PEERCRED.
    """
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except (OSError, AttributeError):
        return None
    return int(_UCRED.unpack(raw)[1])


def open_process(pid: int, start_ticks: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None if it has ended.

    OSError where the host has no such descriptors. Source: Linux pidfd_open(2).
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if is_process(pid, start_ticks):
        return descriptor
    os.close(descriptor)
    return None


def end_process(pid: int, start_ticks: int) -> None:
    """SIGKILL, to exactly this process."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = open_process(pid, start_ticks)
        if descriptor is not None:
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)
