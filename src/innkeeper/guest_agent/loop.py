# SPDX-License-Identifier: Apache-2.0
"""The agent itself: one loop around poll(2) that moves bytes, and one that starts it again if it dies."""

from __future__ import annotations

from innkeeper.guest_agent import layout as at
from innkeeper.guest_agent import linux
from innkeeper.guest_agent.commands import enter_child, reap
from innkeeper.guest_agent.dispatch import take_frames
from innkeeper.guest_agent.layout import (
    AGENT_AT,
    BUFFER_BYTES,
    INPUT,
    POLL_ENTRIES,
    SESSION_BYTES,
    SESSIONS,
    SESSIONS_END,
    SMALL,
    text,
)
from innkeeper.guest_agent.output import (
    flush,
    has_control_room,
)
from innkeeper.guest_agent.subset import (
    ERRORS,
    agent,
    call1,
    call2,
    call3,
    call4,
    clone_process,
    errno_of,
    load16,
    load64,
    store8,
    store32,
    store64,
)
from innkeeper.guest_agent.texts import zero_bytes
from innkeeper.guest_agent.traffic import may_send, serve_sessions, was_asked
from innkeeper.ir.native import M64, Words, words_at

DEV_NULL = text(b"/dev/null")
DEV_FD, DEV_STDIN = text(b"/dev/fd"), text(b"/dev/stdin")
DEV_STDOUT, DEV_STDERR = text(b"/dev/stdout"), text(b"/dev/stderr")
PROC_FD, PROC_FD_0 = text(b"/proc/self/fd"), text(b"/proc/self/fd/0")
PROC_FD_1, PROC_FD_2 = text(b"/proc/self/fd/1"), text(b"/proc/self/fd/2")
AT_SIGN = 64
NO_DESCRIPTOR = 0xFFFF_FFFF
AGAIN_NS = 100_000_000
"""Between two starts of an agent that dies."""


@agent
def agent_main(stack: int) -> int:
    """The program: argument 1 is the path of the port. It does not return.

    Source: Linux, fs/binfmt_elf.c, create_elf_tables(): argc, then argv, at the stack pointer.
    """
    port = load64(stack + 16)
    # Systemd leaves such processes alone until the very end.
    # Source: https://systemd.io/ROOT_STORAGE_DAEMONS
    store8(load64(stack + 8), AT_SIGN)
    store64(SMALL, M64)
    call4(linux.RT_SIGPROCMASK, linux.SIG_SETMASK, SMALL, 0, linux.SIGNAL_SET_BYTES)
    fd = call4(linux.OPENAT, linux.AT_FDCWD, DEV_NULL, linux.O_RDWR, 0)
    for i in range(3):
        if fd < ERRORS and fd != i:
            call3(linux.DUP3, fd, i, 0)
    if 2 < fd < ERRORS:
        call1(linux.CLOSE, fd)
    # A shell that starts it in the background has it ignore some, and so would its commands.
    zero_bytes(SMALL, 32)
    for number in range(1, linux.SIGNAL_COUNT + 1):
        call4(linux.RT_SIGACTION, number, SMALL, 0, linux.SIGNAL_SET_BYTES)
    call1(linux.UMASK, 0o022)
    # What scripts expect and devtmpfs does not have; where there is an udev it has made them, and these fail.
    call3(linux.SYMLINKAT, PROC_FD, linux.AT_FDCWD, DEV_FD)
    call3(linux.SYMLINKAT, PROC_FD_0, linux.AT_FDCWD, DEV_STDIN)
    call3(linux.SYMLINKAT, PROC_FD_1, linux.AT_FDCWD, DEV_STDOUT)
    call3(linux.SYMLINKAT, PROC_FD_2, linux.AT_FDCWD, DEV_STDERR)
    call1(linux.SETSID, 0)
    store64(AGENT_AT, port)
    while 1:
        pid = clone_process(linux.SIGCHLD, 0, 0)
        if pid < ERRORS:
            call4(linux.WAIT4, pid, SMALL, 0, 0)
        pause(AGAIN_NS)


@agent
def pause(time_ns: int) -> int:
    """Sleep below a second."""
    store64(SMALL, 0)
    store64(SMALL + 8, time_ns)
    call2(linux.NANOSLEEP, SMALL, 0)
    return 0


@agent
def child_entry(slot: int) -> int:
    """A new process: the agent, or the child of the command in this slot."""
    if slot:
        enter_child(words_at(slot))
    serve(words_at(AGENT_AT))
    call1(linux.EXIT_GROUP, 1)
    return 0


@agent
def serve(a: Words) -> int:
    """The agent, until its port fails, or who would start it again is gone."""
    call2(linux.PRCTL, linux.PR_SET_PDEATHSIG, linux.SIGKILL)
    flags = linux.O_RDWR | linux.O_NONBLOCK | linux.O_CLOEXEC
    port = call4(linux.OPENAT, linux.AT_FDCWD, a[at.PORT], flags, 0)
    a[at.PORT] = port
    store64(SMALL, 1 << linux.SIGCHLD - 1)
    flags = linux.O_NONBLOCK | linux.O_CLOEXEC
    a[at.SIGNALS] = call4(linux.SIGNALFD4, M64, SMALL, linux.SIGNAL_SET_BYTES, flags)
    if port >= ERRORS or a[at.SIGNALS] >= ERRORS:
        return 0
    a[at.FIRST] = SESSIONS
    while 1:
        prepare_poll(a)
        store64(SMALL, 0)
        store64(SMALL + 8, 0)
        no_wait = SMALL if a[at.AT_ONCE] else 0
        done = call4(linux.PPOLL, POLL_ENTRIES, a[at.POLL_COUNT], no_wait, 0)
        if done >= ERRORS and errno_of(done) != linux.EINTR:
            return 0
        if load16(POLL_ENTRIES + 8 + 6):
            while call3(linux.READ, a[at.SIGNALS], SMALL, 1024) < ERRORS:
                pass
            reap(a)
        serve_sessions(a)
        answers = load16(POLL_ENTRIES + 6)
        if answers & linux.POLLIN and not take_input(a):
            return 0
        if answers & (linux.POLLHUP | linux.POLLNVAL) and not answers & linux.POLLIN:
            pause(AGAIN_NS)
        take_frames(a)
        flush(a)


@agent
def watch(entry: int, fd: int, events: int) -> int:
    """Fill an entry for poll; 0 events: it is not looked at."""
    store32(entry, fd if events else NO_DESCRIPTOR)
    store32(entry + 4, events)
    return 0


@agent
def prepare_poll(a: Words) -> int:
    """What is waited for: only what can be worked on, so that nothing spins."""
    events = linux.POLLIN if a[at.IN_USED] < BUFFER_BYTES else 0
    if a[at.OUT_END] > a[at.OUT_START]:
        events |= linux.POLLOUT
    watch(POLL_ENTRIES, a[at.PORT], events)
    watch(POLL_ENTRIES + 8, a[at.SIGNALS], linux.POLLIN)
    a[at.AT_ONCE] = 0
    count = 2
    slot = SESSIONS
    number = 1
    while slot < SESSIONS_END:
        if load64(slot + 8 * at.KIND):
            watch_session(a, words_at(slot))
            count = 2 + 3 * number
        elif count < 2 + 3 * number:
            entry = POLL_ENTRIES + (3 * number - 1) * 8
            watch(entry, 0, 0)
            watch(entry + 8, 0, 0)
            watch(entry + 16, 0, 0)
        number += 1
        slot += SESSION_BYTES
    a[at.POLL_COUNT] = count
    return 0


@agent
def watch_session(a: Words, s: Words) -> int:
    """The three entries of a session."""
    entry = s[at.POLL_AT]
    answers = has_control_room(a)
    watch(entry, s[at.FD_IN], linux.POLLOUT if s[at.FD_IN] and s[at.RING_USED] and answers else 0)
    events = linux.POLLIN if may_send(a, s) else 0
    watch(entry + 8, s[at.FD_OUT], events if s[at.FD_OUT] else 0)
    watch(entry + 16, s[at.FD_ERR], events if s[at.FD_ERR] else 0)
    if s[at.ROUNDS] and s[at.TOKEN]:
        s[at.ROUNDS] = 2
        if answers and was_asked(s, at.FD_OUT, 1) and was_asked(s, at.FD_ERR, 2):
            a[at.AT_ONCE] = 1
    return 0


@agent
def take_input(a: Words) -> int:
    """Read from the port; 0: it is gone."""
    free = BUFFER_BYTES - a[at.IN_USED]
    if not free:
        return 1
    done = call3(linux.READ, a[at.PORT], INPUT + a[at.IN_USED], free)
    if done >= ERRORS:
        errno = errno_of(done)
        return errno == linux.EAGAIN or errno == linux.EINTR
    if not done:
        # The VMM's end is closed, of which poll tells again and again.
        pause(AGAIN_NS)
    a[at.IN_USED] = a[at.IN_USED] + done
    return 1
