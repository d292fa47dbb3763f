# SPDX-License-Identifier: Apache-2.0
"""The agent itself: one loop around poll(2) that moves bytes, and one that starts it again if it dies."""

from __future__ import annotations

from innkeeper.guest_agent import layout as at
from innkeeper.guest_agent import linux
from innkeeper.guest_agent import protocol as say
from innkeeper.guest_agent.commands import enter_child, finish_command, reap, run_command, set_window
from innkeeper.guest_agent.files import end_file, fail_file, finish_file, read_file, tell_status, write_file
from innkeeper.guest_agent.identity import end_machine, take_identity
from innkeeper.guest_agent.layout import (
    AGENT_AT,
    BUFFER_BYTES,
    CHUNK_BYTES,
    CONTROL_ROOM_BYTES,
    INPUT,
    POLL_ENTRIES,
    SESSION_BYTES,
    SESSIONS,
    SESSIONS_END,
    SMALL,
    text,
)
from innkeeper.guest_agent.output import (
    end_frame,
    flush,
    has_control_room,
    payload_at,
    room,
    send,
)
from innkeeper.guest_agent.sessions import (
    close_error,
    close_in,
    close_out,
    consumed,
    drop_ring,
    fill_ring,
    find_session,
    free_session,
    orphan,
    signal_group,
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
    least,
    load16,
    load32,
    load64,
    store8,
    store16,
    store32,
    store64,
)
from innkeeper.guest_agent.texts import copy_bytes, zero_bytes
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
END_OF_TRANSMISSION = 4
PING_LIMIT_BYTES = 64


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
def may_send(a: Words, s: Words) -> int:
    """How many bytes of output may be read now."""
    if not s[at.TOKEN]:
        return CHUNK_BYTES
    free = room(a)
    if free < CONTROL_ROOM_BYTES + CHUNK_BYTES:
        return 0
    return least(s[at.ALLOWED], CHUNK_BYTES)


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
def answered(s: Words, number: int) -> int:
    """What poll has said of one of a session's descriptors."""
    return load16(s[at.POLL_AT] + 8 * number + 6)


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
def was_asked(s: Words, which: int, number: int) -> int:
    """Whether poll looked at a descriptor, or there is none."""
    return not s[which] or load32(s[at.POLL_AT] + 8 * number) == s[which]


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
