# SPDX-License-Identifier: Apache-2.0
"""What a forked child does so that it is not taken for its parent, and keeps nothing of it open."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import stat
from pathlib import Path

_ARGUMENTS_START, _ARGUMENTS_END = 45, 46
"""Fields 48 and 49 of /proc/PID/stat, counted behind the name of the program."""


def fork_processes(count: int, pids: list[int]) -> int | None:
    """`count` times fork(2), with as little between two of them as can be: gives None, and in a child its
    number, from 0. Appends the pids to `pids` as the children come. OSError if one cannot be had."""
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            return number
        pids.append(pid)
    return None


def release_free_memory() -> None:
    """Give what the heap holds and does not use back to the host, before children come to share it.

    Source: malloc_trim(3). A C library without it keeps it.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def detach_network_sockets() -> None:
    """Let go of all sockets of IPv4 and IPv6, so that closing them here does nothing to the parent's.

    Their descriptors stay, and are those of /dev/null.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for name in os.listdir("/proc/self/fd"):
            fd = int(name)
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.fstat(fd).st_mode) and _is_internet(fd):
                    os.dup2(null, fd, inheritable=False)
    finally:
        os.close(null)


def _is_internet(fd: int) -> bool:
    with socket.socket(fileno=os.dup(fd)) as twin:
        return twin.family in (socket.AF_INET, socket.AF_INET6)


def replace_argument(old: str, new: str) -> bool:
    """Let ps(1) show `new` for the command's argument `old`, which must be as long; whether it does now.

    Source: Linux proc_pid_stat(5), fields arg_start and arg_end; proc_pid_cmdline(5).
    """
    wanted, put = os.fsencode(old), os.fsencode(new)
    if len(wanted) != len(put) or not wanted:
        return False
    try:
        text = Path("/proc/self/stat").read_text("latin-1")
        fields = text[text.rindex(")") + 2 :].split()
        start, end = int(fields[_ARGUMENTS_START]), int(fields[_ARGUMENTS_END])
    except (OSError, ValueError, IndexError):
        return False
    words = ctypes.string_at(start, end - start)
    at = words.find(b"\0" + wanted + b"\0")
    if at < 0:
        return False
    ctypes.memmove(start + at + 1, put, len(put))
    return True
