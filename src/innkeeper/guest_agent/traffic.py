# SPDX-License-Identifier: Apache-2.0
"""What moves through a session: input to a command or file, output to the VMM, and the end."""

from __future__ import annotations

from innkeeper.guest_agent import layout as at
from innkeeper.guest_agent import linux
from innkeeper.guest_agent import protocol as say
from innkeeper.guest_agent.commands import finish_command
from innkeeper.guest_agent.files import end_file, fail_file, finish_file
from innkeeper.guest_agent.layout import (
    CHUNK_BYTES,
    CONTROL_ROOM_BYTES,
    SESSION_BYTES,
    SESSIONS,
    SESSIONS_END,
)
from innkeeper.guest_agent.output import (
    end_frame,
    has_control_room,
    payload_at,
    room,
)
from innkeeper.guest_agent.sessions import (
    close_error,
    close_in,
    close_out,
    consumed,
    drop_ring,
    free_session,
)
from innkeeper.guest_agent.subset import (
    ERRORS,
    agent,
    call3,
    errno_of,
    least,
    load16,
    load32,
    load64,
)
from innkeeper.ir.native import Words, words_at


@agent
def may_send(a: Words, s: Words) -> int:
    """How many bytes of output may be read now."""
    if not s[at.TOKEN]:
        return CHUNK_BYTES
    free = room(a)
    if free < CONTROL_ROOM_BYTES + CHUNK_BYTES:
        return 0
    return least(s[at.ALLOWED], CHUNK_BYTES)


@agent
def answered(s: Words, number: int) -> int:
    """What poll has said of one of a session's descriptors."""
    return load16(s[at.POLL_AT] + 8 * number + 6)


@agent
def was_asked(s: Words, which: int, number: int) -> int:
    """Whether poll looked at a descriptor, or there is none."""
    return not s[which] or load32(s[at.POLL_AT] + 8 * number) == s[which]


@agent
def serve_sessions(a: Words) -> int:
    """Move what can be moved, each session once, beginning with another one each time."""
    slot = a[at.FIRST]
    for _ in range(say.SESSION_LIMIT):
        if load64(slot + 8 * at.KIND):
            serve_session(a, words_at(slot))
        slot += SESSION_BYTES
        if slot >= SESSIONS_END:
            slot = SESSIONS
    a[at.FIRST] = a[at.FIRST] + SESSION_BYTES
    if a[at.FIRST] >= SESSIONS_END:
        a[at.FIRST] = SESSIONS
    return 0


@agent
def serve_session(a: Words, s: Words) -> int:
    """Input, output, and the end, if it has come."""
    if s[at.FD_IN] and answered(s, 0):
        write_input(a, s)
    if s[at.KIND] and s[at.FD_OUT] and answered(s, 1):
        forward(a, s, s[at.FD_OUT], say.STDOUT)
    if s[at.KIND] and s[at.FD_ERR] and answered(s, 2):
        forward(a, s, s[at.FD_ERR], say.STDERR)
    if s[at.KIND] == at.COMMAND:
        look_for_end(a, s)
    return 0


@agent
def look_for_end(a: Words, s: Words) -> int:
    """A command's end is told when poll, asked since then, found nothing more to read."""
    if not s[at.TOKEN]:
        if not (s[at.FD_OUT] or s[at.FD_ERR]):
            free_session(s)
        return 0
    if not s[at.ROUNDS] or not has_control_room(a):
        return 0
    all_read = not (s[at.FD_OUT] or s[at.FD_ERR])
    if s[at.ROUNDS] >= 2 and was_asked(s, at.FD_OUT, 1) and was_asked(s, at.FD_ERR, 2):
        all_read = not (answered(s, 1) or answered(s, 2))
    if all_read:
        finish_command(a, s)
    return 0


@agent
def write_input(a: Words, s: Words) -> int:
    """Input from the ring to where it belongs."""
    if not s[at.RING_USED] or not has_control_room(a):
        return 0
    size = least(s[at.RING_USED], at.RING_BYTES - s[at.RING_START])
    done = call3(linux.WRITE, s[at.FD_IN], s[at.RING] + s[at.RING_START], size)
    if done >= ERRORS:
        errno = errno_of(done)
        if errno == linux.EAGAIN or errno == linux.EINTR:
            return 0
        if s[at.KIND] == at.WRITE_FILE:
            return fail_file(a, s, errno)
        close_in(s)
        return drop_ring(a, s)
    s[at.RING_START] = (s[at.RING_START] + done) % at.RING_BYTES
    s[at.RING_USED] = s[at.RING_USED] - done
    consumed(a, s, done)
    return end_input(a, s)


@agent
def end_input(a: Words, s: Words) -> int:
    """Once all is written that came before the end."""
    if s[at.RING_USED] or not s[at.RING_ENDS]:
        return 0
    if s[at.KIND] == at.WRITE_FILE:
        finish_file(a, s)
    elif not s[at.IS_TTY]:
        close_in(s)
    return 0


@agent
def forward(a: Words, s: Words, fd: int, kind: int) -> int:
    """What a command wrote, or a part of a file, to the VMM; to nobody if nobody listens."""
    size = may_send(a, s)
    if not size:
        return 0
    target = payload_at(a) if s[at.TOKEN] else at.FILE_TEXT
    done = call3(linux.READ, fd, target, size)
    if 0 < done < ERRORS:
        if s[at.TOKEN]:
            end_frame(a, kind, s[at.TOKEN], done)
            s[at.ALLOWED] = s[at.ALLOWED] - done
        return 0
    errno = errno_of(done)
    if errno == linux.EAGAIN or errno == linux.EINTR:
        return 0
    if s[at.KIND] == at.READ_FILE:
        return fail_file(a, s, errno) if errno else end_file(a, s)
    if kind == say.STDERR:
        return close_error(s)
    if s[at.IS_TTY]:
        s[at.FD_IN] = 0
    return close_out(s)
