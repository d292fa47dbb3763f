# SPDX-License-Identifier: Apache-2.0
"""Commands: their pipes or terminal, their start, and their end."""

from __future__ import annotations

from innkeeper.guest_agent import layout as at
from innkeeper.guest_agent import linux
from innkeeper.guest_agent import protocol as say
from innkeeper.guest_agent.layout import SMALL, STACK_TOP, text
from innkeeper.guest_agent.output import send_failure, send_number
from innkeeper.guest_agent.sessions import (
    close_error,
    close_in,
    close_out,
    find_process,
    free_session,
    take_slot,
)
from innkeeper.guest_agent.spawn import is_exec, start_child
from innkeeper.guest_agent.subset import (
    ERRORS,
    agent,
    call2,
    call3,
    call4,
    clone_process,
    errno_of,
    load16,
    load32,
    store16,
    store32,
)
from innkeeper.ir.native import M64, Words, words_at

PTMX = text(b"/dev/ptmx")


@agent
def run_command(a: Words, token: int, request: int, end: int) -> int:
    """Carry out EXEC."""
    if not is_exec(request, end):
        return send_failure(a, token, linux.EINVAL, say.STAGE_START)
    slot = take_slot(at.COMMAND, token)
    if slot == 0:
        return send_failure(a, token, linux.EAGAIN, say.STAGE_START)
    return begin_command(a, words_at(slot), slot, request, end)


@agent
def begin_command(a: Words, s: Words, slot: int, request: int, end: int) -> int:
    """Make the pipes or the terminal, and start the child."""
    s[at.REQUEST] = request
    s[at.REQUEST_END] = end
    s[at.ALLOWED] = load32(request + 12)
    s[at.IS_TTY] = load32(request) & say.EXEC_TTY
    s[at.ERRNO] = open_terminal(s, request) if s[at.IS_TTY] else open_pipes(s)
    s[at.STAGE] = say.STAGE_TERMINAL if s[at.IS_TTY] else say.STAGE_START
    if not s[at.ERRNO]:
        flags = linux.CLONE_VM | linux.CLONE_VFORK | linux.SIGCHLD
        pid = clone_process(flags, STACK_TOP, slot)
        if pid >= ERRORS:
            s[at.ERRNO] = errno_of(pid)
            s[at.STAGE] = say.STAGE_START
        s[at.PID] = pid
    close_child(s)
    if s[at.ERRNO]:
        send_failure(a, s[at.TOKEN], s[at.ERRNO], s[at.STAGE])
        free_session(s)
    return 0


@agent
def enter_child(s: Words) -> int:
    """What the child does; the agent stands still meanwhile."""
    start_child(s)
    return 0


@agent
def close_child(s: Words) -> int:
    """Close the child's ends."""
    close_number(s[at.CHILD_IN])
    if s[at.CHILD_OUT] != s[at.CHILD_IN]:
        close_number(s[at.CHILD_OUT])
    if s[at.CHILD_ERR] != s[at.CHILD_OUT]:
        close_number(s[at.CHILD_ERR])
    return 0


@agent
def close_number(fd: int) -> int:
    """Close a descriptor, if it is one of ours."""
    if fd > 2:
        call2(linux.CLOSE, fd, 0)
    return 0


@agent
def make_pipe(number: int) -> int:
    """A pipe, its ends at SMALL; the end `number` of it (0 or 1), which is ours, does not block."""
    result = call2(linux.PIPE2, SMALL, linux.O_CLOEXEC)
    if result >= ERRORS:
        return errno_of(result)
    call3(linux.FCNTL, load32(SMALL + 4 * number), linux.F_SETFL, linux.O_NONBLOCK)
    return 0


@agent
def open_pipes(s: Words) -> int:
    """Three pipes; returns an errno."""
    errno = make_pipe(1)
    if errno:
        return errno
    s[at.CHILD_IN] = load32(SMALL)
    s[at.FD_IN] = load32(SMALL + 4)
    errno = make_pipe(0)
    if errno:
        return errno
    s[at.FD_OUT] = load32(SMALL)
    s[at.CHILD_OUT] = load32(SMALL + 4)
    errno = make_pipe(0)
    if errno:
        return errno
    s[at.FD_ERR] = load32(SMALL)
    s[at.CHILD_ERR] = load32(SMALL + 4)
    return 0


@agent
def set_window(fd: int, columns: int, rows: int) -> int:
    """Tell a terminal its size."""
    store16(SMALL, rows)
    store16(SMALL + 2, columns)
    store32(SMALL + 4, 0)
    return call3(linux.IOCTL, fd, linux.TIOCSWINSZ, SMALL)


@agent
def open_terminal(s: Words, request: int) -> int:
    """A pseudo-terminal; returns an errno. Source: Linux, Documentation/filesystems/devpts.rst"""
    flags = linux.O_RDWR | linux.O_NOCTTY | linux.O_CLOEXEC
    ours = call4(linux.OPENAT, linux.AT_FDCWD, PTMX, flags | linux.O_NONBLOCK, 0)
    if ours >= ERRORS:
        return errno_of(ours)
    s[at.FD_OUT] = ours
    store32(SMALL, 0)
    call3(linux.IOCTL, ours, linux.TIOCSPTLCK, SMALL)
    set_window(ours, load16(request + 4), load16(request + 6))
    theirs = call3(linux.IOCTL, ours, linux.TIOCGPTPEER, flags)
    if theirs >= ERRORS:
        return errno_of(theirs)
    s[at.CHILD_IN] = theirs
    s[at.CHILD_OUT] = theirs
    s[at.CHILD_ERR] = theirs
    return 0


@agent
def reap(a: Words) -> int:
    """Take note of processes that have ended."""
    while 1:
        pid = call4(linux.WAIT4, M64, SMALL, linux.WNOHANG, 0)
        if pid >= ERRORS or pid == 0:
            return 0
        slot = find_process(pid)
        if slot:
            note_end(words_at(slot), load32(SMALL))


@agent
def note_end(s: Words, status: int) -> int:
    """A command has ended; what it wrote is still to be read. Source: wait(2)"""
    s[at.PID] = 0
    s[at.STATUS] = 128 + (status & 0x7F) if status & 0x7F else status >> 8 & 0xFF
    s[at.ROUNDS] = 1
    return 0


@agent
def finish_command(a: Words, s: Words) -> int:
    """Tell the end of a command whose output is all told. What it left behind may go on writing."""
    close_in(s)
    if s[at.TOKEN]:
        send_number(a, say.EXIT, s[at.TOKEN], s[at.STATUS])
    s[at.TOKEN] = 0
    if s[at.IS_TTY] or not (s[at.FD_OUT] or s[at.FD_ERR]):
        close_out(s)
        close_error(s)
        s[at.KIND] = 0
    return 0
