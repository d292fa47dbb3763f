# SPDX-License-Identifier: Apache-2.0
"""Files that the VMM reads and writes: exact bytes, permission bits and times."""

from __future__ import annotations

from innkeeper.guest_agent import layout as at
from innkeeper.guest_agent import linux
from innkeeper.guest_agent import protocol as say
from innkeeper.guest_agent.layout import SMALL
from innkeeper.guest_agent.output import end_frame, payload_at, send_failure, send_number
from innkeeper.guest_agent.sessions import free_session, take_slot
from innkeeper.guest_agent.subset import (
    ERRORS,
    agent,
    call2,
    call3,
    call4,
    errno_of,
    load32,
    load64,
    store32,
    store64,
)
from innkeeper.guest_agent.texts import next_string
from innkeeper.ir.native import Words, words_at

WRITE_HEAD_BYTES = 20
"""Of `protocol.WRITE_HEAD`."""
PERMISSIONS = 0o7777


@agent
def send_status(a: Words, token: int, status: int) -> int:
    """STAT from what the kernel has written to `status`. Source: asm-generic/stat.h"""
    body = payload_at(a)
    store32(body, load32(status + 16))
    store32(body + 4, load32(status + 20))
    store32(body + 8, load32(status + 24))
    store32(body + 12, load32(status + 28))
    store64(body + 16, load64(status + 48))
    store64(body + 24, load64(status + 88))
    store64(body + 32, load64(status + 96))
    end_frame(a, say.STAT, token, say.STAT_BYTES)
    return 0


@agent
def tell_status(a: Words, token: int, path: int, end: int) -> int:
    """Carry out STATUS."""
    if not next_string(path, end):
        return send_failure(a, token, linux.EINVAL, say.STAGE_OPEN)
    result = call4(linux.NEWFSTATAT, linux.AT_FDCWD, path, SMALL, linux.AT_SYMLINK_NOFOLLOW)
    if result >= ERRORS:
        return send_failure(a, token, errno_of(result), say.STAGE_OPEN)
    send_status(a, token, SMALL)
    return send_number(a, say.EXIT, token, 0)


@agent
def read_file(a: Words, token: int, request: int, end: int) -> int:
    """Carry out READ."""
    if request + 4 > end or not next_string(request + 4, end):
        return send_failure(a, token, linux.EINVAL, say.STAGE_OPEN)
    flags = linux.O_RDONLY | linux.O_CLOEXEC | linux.O_NONBLOCK | linux.O_NOCTTY
    fd = call4(linux.OPENAT, linux.AT_FDCWD, request + 4, flags, 0)
    if fd >= ERRORS:
        return send_failure(a, token, errno_of(fd), say.STAGE_OPEN)
    slot = take_slot(at.READ_FILE, token)
    if slot == 0:
        call2(linux.CLOSE, fd, 0)
        return send_failure(a, token, linux.EAGAIN, say.STAGE_START)
    store64(slot + 8 * at.FD_OUT, fd)
    store64(slot + 8 * at.ALLOWED, load32(request))
    call2(linux.FSTAT, fd, SMALL)
    return send_status(a, token, SMALL)


@agent
def write_file(a: Words, token: int, request: int, end: int) -> int:
    """Carry out WRITE: the file is made, or emptied if it is there."""
    path = request + WRITE_HEAD_BYTES
    if path > end or not next_string(path, end):
        return send_failure(a, token, linux.EINVAL, say.STAGE_OPEN)
    flags = (
        linux.O_WRONLY | linux.O_CREAT | linux.O_TRUNC | linux.O_CLOEXEC | linux.O_NONBLOCK | linux.O_NOCTTY
    )
    fd = call4(linux.OPENAT, linux.AT_FDCWD, path, flags, load32(request) & PERMISSIONS)
    if fd >= ERRORS:
        return send_failure(a, token, errno_of(fd), say.STAGE_OPEN)
    slot = take_slot(at.WRITE_FILE, token)
    if slot == 0:
        call2(linux.CLOSE, fd, 0)
        return send_failure(a, token, linux.EAGAIN, say.STAGE_START)
    return begin_write(words_at(slot), fd, request)


@agent
def begin_write(s: Words, fd: int, request: int) -> int:
    """Remember what is to be set at the end."""
    s[at.FD_IN] = fd
    s[at.FILE_MODE] = load32(request) & PERMISSIONS
    s[at.FILE_TIME_SET] = load32(request + 4) & say.WRITE_TIME
    s[at.FILE_SECONDS] = load64(request + 8)
    s[at.FILE_NANOSECONDS] = load32(request + 16)
    return 0


@agent
def finish_file(a: Words, s: Words) -> int:
    """All of it is written: mode and time, then the VMM is told."""
    result = call2(linux.FCHMOD, s[at.FD_IN], s[at.FILE_MODE])
    if s[at.FILE_TIME_SET] and result < ERRORS:
        store64(SMALL, 0)
        store64(SMALL + 8, linux.UTIME_OMIT)
        store64(SMALL + 16, s[at.FILE_SECONDS])
        store64(SMALL + 24, s[at.FILE_NANOSECONDS])
        result = call4(linux.UTIMENSAT, s[at.FD_IN], 0, SMALL, 0)
    if result >= ERRORS:
        send_failure(a, s[at.TOKEN], errno_of(result), say.STAGE_WRITE)
    else:
        send_number(a, say.EXIT, s[at.TOKEN], 0)
    free_session(s)
    return 0


@agent
def fail_file(a: Words, s: Words, errno: int) -> int:
    """Reading or writing failed on the way."""
    send_failure(a, s[at.TOKEN], errno, say.STAGE_WRITE if s[at.KIND] == at.WRITE_FILE else say.STAGE_OPEN)
    free_session(s)
    return 0


@agent
def end_file(a: Words, s: Words) -> int:
    """All of the file was sent."""
    send_number(a, say.EXIT, s[at.TOKEN], 0)
    free_session(s)
    return 0


@agent
def replace_file(path: int, content: int, size: int) -> int:
    """Write `content` over a file that is there; returns an errno."""
    fd = call4(linux.OPENAT, linux.AT_FDCWD, path, linux.O_WRONLY | linux.O_TRUNC | linux.O_CLOEXEC, 0)
    if fd >= ERRORS:
        return errno_of(fd)
    result = call3(linux.WRITE, fd, content, size)
    call2(linux.CLOSE, fd, 0)
    return errno_of(result)
