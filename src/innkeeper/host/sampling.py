# SPDX-License-Identifier: Apache-2.0
"""Timers that interrupt threads of this process after some processor time: what a profiler samples with.

Source: timer_create(2), sigevent(7), pthread_getcpuclockid(3).
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from pathlib import Path

from innkeeper.errors import HostError

_SIGEV_THREAD_ID = 4
_SIG_IGN = 1
_SA_SIGINFO, _SA_RESTART = 4, 0x1000_0000
_CPUCLOCK_THREAD = 4 | 2
"""CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED: the clock of a thread's processor time."""


class _SigEvent(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_uint64),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("pad", ctypes.c_int * 11),
    )


class _SigAction(ctypes.Structure):
    _fields_ = (
        ("handler", ctypes.c_uint64),
        ("mask", ctypes.c_uint64 * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_uint64),
    )


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", ctypes.c_long * 2), ("first", ctypes.c_long * 2))


class ThreadTimers:
    """Sends SIGPROF to every Python thread each `interval_ns` of the processor time that it uses.

    `handler` is the address of a C signal handler, which finds `value` in its siginfo. Threads made after
    `cover_threads` was last called are not interrupted. One object at a time; a context manager.
    """

    def __init__(self, handler: int, value: int, interval_ns: int) -> None:
        self._value = value
        self._interval_ns = interval_ns
        self._timers: dict[int, ctypes.c_void_p] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._libc = ctypes.CDLL(None, use_errno=True)
        action = _SigAction(handler=handler, flags=_SA_SIGINFO | _SA_RESTART)
        self._check(self._libc.sigaction(signal.SIGPROF, ctypes.byref(action), None), "sigaction")

    def _check(self, result: int, what: str) -> None:
        if result != 0:
            raise HostError(f"the host refused to profile ({what}: {os.strerror(ctypes.get_errno())})")

    def cover_threads(self) -> None:
        """Give a timer to each thread that has none yet."""
        with self._lock:
            for thread in threading.enumerate():
                if thread.native_id is not None and not self._closed:
                    self._cover(thread.native_id)

    def _cover(self, tid: int) -> None:
        if tid not in self._timers:
            event = _SigEvent(self._value, signal.SIGPROF, _SIGEV_THREAD_ID, tid)
            timer = ctypes.c_void_p()
            clock = ctypes.c_int((~tid << 3) | _CPUCLOCK_THREAD)
            if self._libc.timer_create(clock, ctypes.byref(event), ctypes.byref(timer)) != 0:
                return  # the thread has just ended
            self._timers[tid] = timer
            span = divmod(self._interval_ns, 1_000_000_000)
            spec = _TimerSpec(span, span)
            self._check(self._libc.timer_settime(timer, 0, ctypes.byref(spec), None), "timer_settime")

    def close(self) -> None:
        """Stop all timers. SIGPROF is ignored from now on: one may still be under way."""
        with self._lock:
            self._closed = True
            for timer in self._timers.values():
                self._libc.timer_delete(timer)
            self._timers.clear()
        self._libc.sigaction(signal.SIGPROF, ctypes.byref(_SigAction(handler=_SIG_IGN)), None)

    def __enter__(self) -> ThreadTimers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def executable_mappings() -> list[tuple[int, int, str]]:
    """(start, end, file name or "") of each executable mapping of this process."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, _, _, _, *name = line.split(None, 5)
        if "x" in rights:
            start, _, end = span.partition("-")
            found.append((int(start, 16), int(end, 16), name[0] if name else ""))
    return found


def system_time_share() -> tuple[float, float]:
    """Seconds that this process has spent in user mode and in the host's kernel."""
    times = os.times()
    return times.user, times.system
