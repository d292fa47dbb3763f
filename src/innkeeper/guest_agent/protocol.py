# SPDX-License-Identifier: Apache-2.0
"""What the VMM and the agent say to each other over the port `innkeeper.agent`.

Frames both ways, little-endian: 32 bits of kind (low 8) and length of the payload (high 24), 32 bits of a
token, the payload. The VMM chooses tokens, none of them 0; frames of a token that the agent does not know are
dropped. The VMM gives the port whole frames only.

A conversation begins with RESET, whose 16 random bytes HELLO repeats: the VMM drops what comes before that,
so that neither needs to know what was said to whom before a fork, a restore, or another start of the agent.

Flow control: the VMM sends at most `STDIN_WINDOW_BYTES` of a token's STDIN that no CREDIT has come back for;
the agent sends at most as many bytes of STDOUT and STDERR together as EXEC or READ and further CREDIT allow.
"""

from __future__ import annotations

VERSION = 1
PORT_NAME = "innkeeper.agent"
HEADER_BYTES = 8
PAYLOAD_LIMIT_BYTES = 61440
"""With its header a frame fits into what a port of the console lets wait."""
STDIN_WINDOW_BYTES = 65536
SESSION_LIMIT = 64
"""Commands and files at once."""
NONCE_BYTES = 16

# To the agent.
RESET = 1
"""16 bytes. Commands that run go on without input, and their output is dropped."""
EXEC = 2
"""EXEC_HEAD, then strings ended by NUL: user, cwd, arguments, variables."""
STDIN = 3
"""Bytes; none: the end."""
SIGNAL = 4
"""32 bits: number of a signal, for the command's process group."""
WINDOW = 5
"""Columns and rows, 16 bits each."""
CREDIT = 6
"""32 bits: so many more bytes may come; from the agent: so many were consumed."""
HANG_UP = 7
"""Nobody listens any more: SIGHUP to the command, its further output is dropped."""
IDENTITY = 8
"""IDENTITY_HEAD, then strings ended by NUL: host name, machine-id, generation; empty: leave it."""
POWER_OFF = 9
REBOOT = 10
PING = 11
"""Up to 64 bytes, repeated by PONG."""
READ = 12
"""32 bits of credit, then a path ended by NUL. STAT, STDOUT and EXIT follow."""
WRITE = 13
"""WRITE_HEAD, then a path ended by NUL. STDIN follows; EXIT comes when all of it is in the file."""
STATUS = 14
"""A path ended by NUL. STAT and EXIT follow; a symbolic link is not followed."""

# From the agent.
HELLO = 33
"""The 16 bytes of RESET, 32 bits of VERSION, 32 of SESSION_LIMIT."""
STDOUT = 34
STDERR = 35
EXIT = 36
"""32 bits: status of a command, 128 + signal if it was killed; 0 for a file. The token is free again."""
FAILED = 37
"""32 bits each: errno, and what could not be done (one of STAGES). The token is free again."""
PONG = 38
DONE = 39
"""Answer to IDENTITY, POWER_OFF and REBOOT: an errno of 32 bits for each of IDENTITY_STEPS; one otherwise."""
STAT = 40
"""STAT_BODY of a file."""

EXEC_HEAD = "<IHHHHI"
"""Flags (EXEC_TTY), columns, rows, number of arguments, number of variables, credit."""
EXEC_TTY = 1
WRITE_HEAD = "<IIqI"
"""Permission bits, WRITE_TIME if the time is to be set, time of change: seconds, nanoseconds."""
WRITE_TIME = 1
IDENTITY_HEAD = "<QQ64s6s2x"
"""Wall clock (seconds since 1970, 0: leave it; nanoseconds), random bytes, MAC address (zeroes: leave it)."""
ENTROPY_BYTES = 64
STAT_BODY = "<IIIIQqQ"
"""Mode, links, uid, gid, size, time of change: seconds, nanoseconds."""
STAT_BYTES = 40

STAGES = ("run", "find the user", "enter the working directory", "make a terminal", "open", "write", "start")
STAGE_RUN, STAGE_USER, STAGE_FOLDER, STAGE_TERMINAL, STAGE_OPEN, STAGE_WRITE, STAGE_START = range(7)
IDENTITY_STEPS = ("clock", "entropy", "host name", "machine-id", "MAC address", "generation")
