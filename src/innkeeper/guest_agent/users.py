# SPDX-License-Identifier: Apache-2.0
"""Who a command runs as: /etc/passwd and /etc/group, read in the starting child.

Source: passwd(5), group(5).
"""

from __future__ import annotations

from innkeeper.guest_agent import linux
from innkeeper.guest_agent.layout import CHILD_WORDS, FILE_TEXT, FILE_TEXT_BYTES, text
from innkeeper.guest_agent.subset import ERRORS, agent, call1, call2, call3, call4, load8, store8, store32
from innkeeper.guest_agent.texts import COLON, COMMA, NEWLINE, copy_text, cut, is_same, number_of
from innkeeper.ir.native import M64, Words

PASSWD = text(b"/etc/passwd")
GROUP = text(b"/etc/group")
ROOT = text(b"root")
ROOT_FOLDER = text(b"/root")
SHELL = text(b"/bin/sh")
SLASH_ALONE = text(b"/")

# Words of the child, `c[...]`, at CHILD_WORDS.
UID = 0
GID = 1
NAME = 2
HOME = 3
LOGIN_SHELL = 4
GROUP_COUNT = 5
GROUP_NUMBERS = CHILD_WORDS + 0x100
GROUP_LIMIT = 64
KEPT = CHILD_WORDS + 0x400
KEPT_END = CHILD_WORDS + 0xF00
"""Name, home and shell, once found."""


@agent
def read_text(path: int) -> int:
    """Read a file to FILE_TEXT; returns where it ends there, with a NUL."""
    store8(FILE_TEXT, 0)
    fd = call4(linux.OPENAT, linux.AT_FDCWD, path, linux.O_RDONLY | linux.O_CLOEXEC, 0)
    if fd >= ERRORS:
        return FILE_TEXT
    end = FILE_TEXT
    while end < FILE_TEXT + FILE_TEXT_BYTES - 1:
        done = call3(linux.READ, fd, end, FILE_TEXT + FILE_TEXT_BYTES - 1 - end)
        if done >= ERRORS or done == 0:
            break
        end += done
    call1(linux.CLOSE, fd)
    store8(end, 0)
    return end


@agent
def keep(source: int, room: int) -> int:
    """Copy a string to `room`, ended by NUL; returns the address behind it."""
    end = copy_text(room, source, KEPT_END)
    store8(end, 0)
    return end + 1


@agent
def find_user(c: Words, wanted: int) -> int:
    """Set what /etc/passwd says of a name or number; returns whether it is known. "" is root."""
    name = wanted if load8(wanted) else ROOT
    number = number_of(wanted)
    c[UID] = number if number < M64 else 0
    c[GID] = c[UID]
    c[NAME] = name
    c[HOME] = SLASH_ALONE if load8(wanted) else ROOT_FOLDER
    c[LOGIN_SHELL] = SHELL
    end = read_text(PASSWD)
    line = FILE_TEXT
    while line < end:
        following = cut(line, end, NEWLINE)
        password = cut(line, following - 1, COLON)
        uid = cut(password, following - 1, COLON)
        gid = cut(uid, following - 1, COLON)
        comment = cut(gid, following - 1, COLON)
        home = cut(comment, following - 1, COLON) if comment < following else following - 1
        shell = cut(home, following - 1, COLON) if home < following else following - 1
        if home < following and (is_same(line, name) or (number < M64 and number_of(uid) == number)):
            c[UID] = number_of(uid)
            c[GID] = number_of(gid)
            c[NAME] = KEPT
            c[HOME] = keep(line, KEPT)
            c[LOGIN_SHELL] = keep(home, c[HOME])
            if shell < following and load8(shell):
                cut(shell, following - 1, COLON)
                keep(shell, c[LOGIN_SHELL])
            else:
                c[LOGIN_SHELL] = SHELL
            return 1 if c[UID] < M64 and c[GID] < M64 else 0
        line = following
    # A number that nobody has needs no name; root is root also where there is no file.
    return 1 if number < M64 or is_same(name, ROOT) else 0


@agent
def find_groups(c: Words) -> int:
    """Set the groups that /etc/group has the user in."""
    c[GROUP_COUNT] = 1
    store32(GROUP_NUMBERS, c[GID])
    end = read_text(GROUP)
    line = FILE_TEXT
    while line < end:
        following = cut(line, end, NEWLINE)
        password = cut(line, following - 1, COLON)
        gid = cut(password, following - 1, COLON) if password < following else following - 1
        member = cut(gid, following - 1, COLON) if gid < following else following
        while member < following:
            behind = cut(member, following - 1, COMMA)
            if is_same(member, c[NAME]) and c[GROUP_COUNT] < GROUP_LIMIT and number_of(gid) < M64:
                store32(GROUP_NUMBERS + 4 * c[GROUP_COUNT], number_of(gid))
                c[GROUP_COUNT] = c[GROUP_COUNT] + 1
            member = behind
        line = following
    return 0


@agent
def become(c: Words) -> int:
    """Be that user from now on; returns an errno, 0 if it is done."""
    result = call2(linux.SETGROUPS, c[GROUP_COUNT], GROUP_NUMBERS)
    if result < ERRORS:
        result = call1(linux.SETGID, c[GID])
    if result < ERRORS:
        result = call1(linux.SETUID, c[UID])
    return (0 - result) & M64 if result >= ERRORS else 0
