# SPDX-License-Identifier: Apache-2.0
"""The table of what goes on at once: commands, files that are read, files that are written."""

from __future__ import annotations

from innkeeper.guest_agent import layout as at
from innkeeper.guest_agent import linux
from innkeeper.guest_agent import protocol as say
from innkeeper.guest_agent.layout import RING_BYTES, RINGS, SESSION_BYTES, SESSIONS, SESSIONS_END
from innkeeper.guest_agent.output import send_number
from innkeeper.guest_agent.subset import ERRORS, agent, call1, call2, load64
from innkeeper.guest_agent.texts import copy_bytes, zero_bytes
from innkeeper.ir.native import M64, Words, words_at

GRANT_FROM_BYTES = 16384
"""So much is consumed before the VMM hears of it, unless all is."""


@agent
def find_session(token: int) -> int:
    """Address of the session with this token, 0 if there is none."""
    slot = SESSIONS
    while slot < SESSIONS_END:
        if load64(slot + 8 * at.KIND) and load64(slot + 8 * at.TOKEN) == token:
            return slot
        slot += SESSION_BYTES
    return 0


@agent
def find_process(pid: int) -> int:
    """Address of the session whose command is this process, 0 if there is none."""
    slot = SESSIONS
    while slot < SESSIONS_END:
        if load64(slot + 8 * at.KIND) and load64(slot + 8 * at.PID) == pid:
            return slot
        slot += SESSION_BYTES
    return 0


@agent
def take_slot(kind: int, token: int) -> int:
    """Address of a new session; 0 if there is no room. One that nobody listens to makes room."""
    slot = SESSIONS
    chosen = 0
    while slot < SESSIONS_END:
        if not load64(slot + 8 * at.KIND):
            chosen = slot
            break
        if not load64(slot + 8 * at.TOKEN):
            chosen = slot
        slot += SESSION_BYTES
    if chosen:
        if load64(chosen + 8 * at.KIND):
            free_session(words_at(chosen))
        set_up(words_at(chosen), chosen, kind, token)
    return chosen


@agent
def set_up(s: Words, slot: int, kind: int, token: int) -> int:
    """A session in which nothing has happened."""
    zero_bytes(slot, SESSION_BYTES)
    number = (slot - SESSIONS) // SESSION_BYTES
    s[at.KIND] = kind
    s[at.TOKEN] = token
    s[at.RING] = RINGS + number * RING_BYTES
    s[at.POLL_AT] = at.POLL_ENTRIES + (2 + 3 * number) * at.POLL_ENTRY_BYTES
    return 0


@agent
def close_in(s: Words) -> int:
    """Close a descriptor of a session, if it is open; likewise below. A terminal goes with its output."""
    if s[at.FD_IN] and s[at.FD_IN] != s[at.FD_OUT]:
        call1(linux.CLOSE, s[at.FD_IN])
    s[at.FD_IN] = 0
    return 0


@agent
def close_out(s: Words) -> int:
    """Standard output, a terminal, or a file that is read."""
    if s[at.FD_OUT]:
        call1(linux.CLOSE, s[at.FD_OUT])
    s[at.FD_OUT] = 0
    return 0


@agent
def close_error(s: Words) -> int:
    """Standard error."""
    if s[at.FD_ERR]:
        call1(linux.CLOSE, s[at.FD_ERR])
    s[at.FD_ERR] = 0
    return 0


@agent
def free_session(s: Words) -> int:
    """Close everything; the slot can be used again."""
    close_in(s)
    close_out(s)
    close_error(s)
    s[at.KIND] = 0
    return 0


@agent
def orphan(s: Words) -> int:
    """From now on nobody listens: no more input, output is read and dropped."""
    close_in(s)
    s[at.TOKEN] = 0
    s[at.RING_USED] = 0
    if s[at.KIND] != at.COMMAND or not (s[at.FD_OUT] or s[at.FD_ERR]):
        free_session(s)
    return 0


@agent
def signal_group(s: Words, number: int) -> int:
    """Send a signal to the command's process group, if it has not ended."""
    if s[at.KIND] != at.COMMAND or not s[at.PID]:
        return 0
    if call2(linux.KILL, (0 - s[at.PID]) & M64, number) >= ERRORS:
        # It has not made its group yet.
        call2(linux.KILL, s[at.PID], number)
    return 0


@agent
def fill_ring(s: Words, source: int, size: int) -> int:
    """Put input behind what waits. What comes beyond the window is dropped: the VMM does not send it."""
    if size > RING_BYTES - s[at.RING_USED]:
        size = RING_BYTES - s[at.RING_USED]
    end = (s[at.RING_START] + s[at.RING_USED]) % RING_BYTES
    first = RING_BYTES - end if size > RING_BYTES - end else size
    copy_bytes(s[at.RING] + end, source, first)
    copy_bytes(s[at.RING], source + first, size - first)
    s[at.RING_USED] = s[at.RING_USED] + size
    return 0


@agent
def consumed(a: Words, s: Words, size: int) -> int:
    """Let the VMM know, now and then, that so much input is gone."""
    s[at.GRANT] = s[at.GRANT] + size
    if s[at.TOKEN] and (s[at.GRANT] >= GRANT_FROM_BYTES or s[at.RING_USED] == 0):
        send_number(a, say.CREDIT, s[at.TOKEN], s[at.GRANT])
        s[at.GRANT] = 0
    return 0


@agent
def drop_ring(a: Words, s: Words) -> int:
    """Nobody reads the input any more."""
    size = s[at.RING_USED]
    s[at.RING_USED] = 0
    if size:
        consumed(a, s, size)
    return 0
