# SPDX-License-Identifier: Apache-2.0
"""What the child of a command does before it becomes the command.

It shares the agent's memory (CLONE_VM | CLONE_VFORK) and has a stack of its own: the agent stands still until
the command is there, or until the child has left errno and stage in the session.
"""

from __future__ import annotations

from innkeeper.guest_agent import layout as at
from innkeeper.guest_agent import linux, users
from innkeeper.guest_agent import protocol as say
from innkeeper.guest_agent.layout import (
    ARGUMENTS,
    CHILD_TEXTS,
    CHILD_TEXTS_END,
    CHILD_WORDS,
    SMALL,
    VARIABLES,
    text,
)
from innkeeper.guest_agent.subset import (
    ERRORS,
    agent,
    call1,
    call3,
    call4,
    errno_of,
    load8,
    load16,
    load64,
    store8,
    store64,
)
from innkeeper.guest_agent.texts import COLON, SLASH, begins_with, copy_text, has_byte, next_string
from innkeeper.guest_agent.users import become, find_groups, find_user
from innkeeper.ir.native import Words, words_at

HOME_IS = text(b"HOME=")
USER_IS = text(b"USER=")
LOGNAME_IS = text(b"LOGNAME=")
SHELL_IS = text(b"SHELL=")
PATH_IS = text(b"PATH=")
DEFAULT_PATH = text(b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
SCRIPT_SHELL = text(b"/bin/sh")
ROOT_FOLDER = text(b"/")
EXEC_HEAD_BYTES = 16
"""Of `protocol.EXEC_HEAD`."""
ADDED_VARIABLES = 5
POINTER_LIMIT = 12000
"""Of ARGUMENTS and VARIABLES each, with room for what is added."""


@agent
def is_exec(request: int, end: int) -> int:
    """Whether a request has the strings that its head promises."""
    if request + EXEC_HEAD_BYTES > end:
        return 0
    arguments = load16(request + 8)
    variables = load16(request + 10)
    if arguments == 0 or arguments > POINTER_LIMIT or variables > POINTER_LIMIT:
        return 0
    string = request + EXEC_HEAD_BYTES
    for _ in range(2 + arguments + variables):
        string = next_string(string, end)
        if string == 0:
            return 0
    return 1


@agent
def give_up(s: Words, errno: int, stage: int) -> int:
    """The child ends without having become the command."""
    s[at.ERRNO] = errno
    s[at.STAGE] = stage
    call1(linux.EXIT_GROUP, 127)
    return 0


@agent
def start_child(s: Words) -> int:
    """The child: it does not return."""
    call1(linux.SETSID, 0)
    call3(linux.DUP3, s[at.CHILD_IN], 0, 0)
    call3(linux.DUP3, s[at.CHILD_OUT], 1, 0)
    call3(linux.DUP3, s[at.CHILD_ERR], 2, 0)
    if s[at.IS_TTY]:
        call3(linux.IOCTL, 0, linux.TIOCSCTTY, 0)
    store64(SMALL, 0)
    call4(linux.RT_SIGPROCMASK, linux.SIG_SETMASK, SMALL, 0, linux.SIGNAL_SET_BYTES)
    user = s[at.REQUEST] + EXEC_HEAD_BYTES
    folder = next_string(user, s[at.REQUEST_END])
    set_user(words_at(CHILD_WORDS), s, user)
    enter_folder(words_at(CHILD_WORDS), s, folder)
    variables = set_arguments(s, next_string(folder, s[at.REQUEST_END]))
    add_variables(words_at(CHILD_WORDS), variables)
    give_up(s, execute(), say.STAGE_RUN)
    return 0


@agent
def set_user(c: Words, s: Words, user: int) -> int:
    """Be the user that was asked for."""
    if not find_user(c, user):
        give_up(s, linux.EINVAL, say.STAGE_USER)
    find_groups(c)
    errno = become(c)
    if errno:
        give_up(s, errno, say.STAGE_USER)
    return 0


@agent
def enter_folder(c: Words, s: Words, folder: int) -> int:
    """The folder that was asked for, else the user's, else the root."""
    result = call1(linux.CHDIR, folder if load8(folder) else c[users.HOME])
    if result >= ERRORS and load8(folder):
        give_up(s, errno_of(result), say.STAGE_FOLDER)
    if result >= ERRORS:
        call1(linux.CHDIR, ROOT_FOLDER)
    return 0


@agent
def set_arguments(s: Words, string: int) -> int:
    """Fill ARGUMENTS and VARIABLES with pointers into the request; returns where the next variable goes."""
    count = load16(s[at.REQUEST] + 8)
    for i in range(count):
        store64(ARGUMENTS + 8 * i, string)
        string = next_string(string, s[at.REQUEST_END])
    store64(ARGUMENTS + 8 * count, 0)
    count = load16(s[at.REQUEST] + 10)
    for k in range(count):
        store64(VARIABLES + 8 * k, string)
        string = next_string(string, s[at.REQUEST_END])
    store64(VARIABLES + 8 * count, 0)
    return VARIABLES + 8 * count


@agent
def add_variables(c: Words, slot: int) -> int:
    """What the request does not set itself: HOME, USER, LOGNAME, SHELL, PATH."""
    room = CHILD_TEXTS
    room = add_variable(slot, room, HOME_IS, c[users.HOME])
    room = add_variable(last_variable(), room, USER_IS, c[users.NAME])
    room = add_variable(last_variable(), room, LOGNAME_IS, c[users.NAME])
    add_variable(last_variable(), room, SHELL_IS, c[users.LOGIN_SHELL])
    if not find_variable(PATH_IS):
        slot = last_variable()
        store64(slot, DEFAULT_PATH)
        store64(slot + 8, 0)
    return 0


@agent
def last_variable() -> int:
    """Where the next variable goes."""
    slot = VARIABLES
    while load64(slot):
        slot += 8
    return slot


@agent
def find_variable(start: int) -> int:
    """The variable that begins with the string `start`, 0 if there is none."""
    slot = VARIABLES
    while load64(slot):
        if begins_with(load64(slot), start):
            return load64(slot)
        slot += 8
    return 0


@agent
def add_variable(slot: int, room: int, start: int, value: int) -> int:
    """Add a variable unless it is set; returns where there is room for the next one's text."""
    if find_variable(start):
        return room
    end = copy_text(room, start, CHILD_TEXTS_END - 1)
    end = copy_text(end, value, CHILD_TEXTS_END - 1)
    store8(end, 0)
    store64(slot, room)
    store64(slot + 8, 0)
    return end + 1


@agent
def execute() -> int:
    """Become the command, looked up along PATH if its name has no slash; returns the errno of what failed."""
    name = load64(ARGUMENTS)
    if has_byte(name, SLASH) or not load8(name):
        return try_program(name)
    entry = find_variable(PATH_IS)
    entry += 5
    path = CHILD_TEXTS_END - 8192
    worst = linux.ENOENT
    while 1:
        end = path
        while load8(entry) and load8(entry) != COLON:
            if end < path + 4000:
                store8(end, load8(entry))
                end += 1
            entry += 1
        if end > path:
            store8(end, SLASH)
            end += 1
        end = copy_text(end, name, path + 8000)
        store8(end, 0)
        errno = try_program(path)
        if errno == linux.EACCES:
            worst = linux.EACCES
        elif errno != linux.ENOENT and errno != linux.ENOTDIR and errno != linux.EINVAL:
            return errno
        if not load8(entry):
            return worst
        entry += 1


@agent
def try_program(path: int) -> int:
    """Become the program at `path`, or a shell that runs it if it is a script without a first line."""
    result = call3(linux.EXECVE, path, ARGUMENTS, VARIABLES)
    if errno_of(result) == linux.ENOEXEC:
        slot = ARGUMENTS
        while load64(slot):
            slot += 8
        while slot > ARGUMENTS:
            store64(slot + 8, load64(slot))
            slot -= 8
        store64(ARGUMENTS + 8, path)
        store64(ARGUMENTS, SCRIPT_SHELL)
        # The end has moved too: the loop above began at it.
        result = call3(linux.EXECVE, SCRIPT_SHELL, ARGUMENTS, VARIABLES)
    return errno_of(result)
