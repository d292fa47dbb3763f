# SPDX-License-Identifier: Apache-2.0
"""Frames of the VMM: what each is carried out by."""

from __future__ import annotations

from innkeeper.guest_agent import layout as at
from innkeeper.guest_agent import linux
from innkeeper.guest_agent import protocol as say
from innkeeper.guest_agent.commands import run_command, set_window
from innkeeper.guest_agent.files import read_file, tell_status, write_file
from innkeeper.guest_agent.identity import end_machine, take_identity
from innkeeper.guest_agent.layout import (
    INPUT,
    SESSION_BYTES,
    SESSIONS,
    SESSIONS_END,
    SMALL,
)
from innkeeper.guest_agent.output import (
    end_frame,
    has_control_room,
    payload_at,
    send,
)
from innkeeper.guest_agent.sessions import (
    consumed,
    fill_ring,
    find_session,
    free_session,
    orphan,
    signal_group,
)
from innkeeper.guest_agent.subset import (
    agent,
    call1,
    least,
    load16,
    load32,
    load64,
    store16,
    store32,
)
from innkeeper.guest_agent.texts import copy_bytes
from innkeeper.guest_agent.traffic import end_input
from innkeeper.ir.native import Words, words_at

END_OF_TRANSMISSION = 4
PING_LIMIT_BYTES = 64


@agent
def take_frames(a: Words) -> int:
    """Carry out the frames that are whole, as long as there is room for answers."""
    start = INPUT
    end = INPUT + a[at.IN_USED]
    while end - start >= say.HEADER_BYTES and has_control_room(a):
        size = load32(start) >> 8
        if size > say.PAYLOAD_LIMIT_BYTES:
            # The VMM does not say such things: wait for another conversation.
            call1(linux.EXIT_GROUP, 1)
        body = start + say.HEADER_BYTES
        if size > end - body:
            break
        take_frame(a, load32(start) & 0xFF, load32(start + 4), body, size)
        start = body + size
    a[at.IN_USED] = end - start
    if start > INPUT:
        copy_bytes(INPUT, start, end - start)
    return 0


@agent
def take_frame(a: Words, kind: int, token: int, body: int, size: int) -> int:
    """Carry out one frame."""
    end = body + size
    if kind == say.EXEC:
        run_command(a, token, body, end)
    elif kind == say.READ:
        read_file(a, token, body, end)
    elif kind == say.WRITE:
        write_file(a, token, body, end)
    elif kind == say.STATUS:
        tell_status(a, token, body, end)
    elif kind == say.RESET:
        begin_conversation(a, body, size)
    elif kind == say.IDENTITY:
        take_identity(a, token, body, end)
    elif kind == say.PING:
        send(a, say.PONG, token, body, least(size, PING_LIMIT_BYTES))
    elif kind == say.POWER_OFF or kind == say.REBOOT:
        end_machine(a, token, kind == say.REBOOT)
    else:
        slot = find_session(token) if token else 0
        if slot:
            take_session_frame(a, words_at(slot), kind, body, size)
    return 0


@agent
def take_session_frame(a: Words, s: Words, kind: int, body: int, size: int) -> int:
    """A frame that is for a session."""
    if kind == say.STDIN:
        take_stdin(a, s, body, size)
    elif kind == say.CREDIT and size == 4:
        s[at.ALLOWED] = s[at.ALLOWED] + load32(body)
    elif kind == say.SIGNAL and size == 4:
        signal_group(s, load32(body) & 0x7F)
    elif kind == say.WINDOW and size == 4:
        if s[at.IS_TTY] and s[at.FD_OUT]:
            set_window(s[at.FD_OUT], load16(body), load16(body + 2))
    elif kind == say.HANG_UP:
        signal_group(s, linux.SIGHUP)
        signal_group(s, linux.SIGCONT)
        if s[at.IS_TTY]:
            free_session(s)
        else:
            orphan(s)
    return 0


@agent
def take_stdin(a: Words, s: Words, body: int, size: int) -> int:
    """Input for a session, or its end."""
    if s[at.IS_TTY] and not s[at.FD_IN]:
        s[at.FD_IN] = s[at.FD_OUT]
    if not s[at.FD_IN]:
        # Whoever read it has gone: it counts as consumed.
        s[at.GRANT] = s[at.GRANT] + size
        return consumed(a, s, 0)
    if size:
        return fill_ring(s, body, size)
    if s[at.IS_TTY]:
        store16(SMALL, END_OF_TRANSMISSION)
        return fill_ring(s, SMALL, 1)
    s[at.RING_ENDS] = 1
    return end_input(a, s)


@agent
def begin_conversation(a: Words, body: int, size: int) -> int:
    """Carry out RESET: what runs goes on, but nobody listens."""
    if size != say.NONCE_BYTES:
        return 0
    slot = SESSIONS
    while slot < SESSIONS_END:
        if load64(slot + 8 * at.KIND):
            orphan(words_at(slot))
        slot += SESSION_BYTES
    answer = payload_at(a)
    copy_bytes(answer, body, say.NONCE_BYTES)
    store32(answer + say.NONCE_BYTES, say.VERSION)
    store32(answer + say.NONCE_BYTES + 4, say.SESSION_LIMIT)
    return end_frame(a, say.HELLO, 0, say.NONCE_BYTES + 8)
