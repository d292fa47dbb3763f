# SPDX-License-Identifier: Apache-2.0
"""Where the agent keeps what: it is linked to fixed addresses, so that all of it is constants.

Everything at `DATA` and above is zero at the start and takes memory only once it is used.
"""

from __future__ import annotations

from innkeeper.guest_agent.protocol import SESSION_LIMIT, STDIN_WINDOW_BYTES

CODE = 0x1_0000
TEXTS = 0x1000_0000
DATA = 0x2000_0000

_pool = bytearray()


def text(words: bytes) -> int:
    """Address of a string, ended by NUL, in the program."""
    at = TEXTS + len(_pool)
    _pool.extend(words + b"\0")
    return at


def texts() -> bytes:
    """All strings, to be placed at TEXTS."""
    return bytes(_pool)


# Words of the agent, `a[...]`.
PORT = 0
SIGNALS = 1
IN_USED = 2
OUT_START = 3
OUT_END = 4
POLL_COUNT = 5
FIRST = 6
"""The slot that is served first in this round."""
AT_ONCE = 7
"""Poll must not wait: a command has ended, and what it wrote may be read already."""

# Words of a session, `s[...]`. Descriptors are above 2, 0: none.
KIND = 0
"""0: the slot is free."""
TOKEN = 1
"""0: nobody listens."""
PID = 2
"""0 once it has ended."""
FD_IN = 3
FD_OUT = 4
FD_ERR = 5
RING_START = 6
RING_USED = 7
RING_ENDS = 8
"""The end of input has come."""
GRANT = 9
"""Bytes consumed that no CREDIT was sent for."""
ALLOWED = 10
"""Bytes that may be sent."""
STATUS = 11
ROUNDS = 12
"""0 while the command runs, then the rounds of poll since it has ended, up to 2."""
IS_TTY = 13
ERRNO = 14
STAGE = 15
FILE_MODE = 16
FILE_TIME_SET = 17
FILE_SECONDS = 18
FILE_NANOSECONDS = 19
CHILD_IN = 20
CHILD_OUT = 21
CHILD_ERR = 22
REQUEST = 23
"""Payload of EXEC, while the command starts."""
REQUEST_END = 24
RING = 25
"""Address of the slot's ring."""
POLL_AT = 26
"""Address of its three entries for poll."""
SESSION_BYTES = 256

COMMAND, READ_FILE, WRITE_FILE = 1, 2, 3

AGENT_AT = DATA
SESSIONS = DATA + 0x1000
SESSIONS_END = SESSIONS + SESSION_LIMIT * SESSION_BYTES
POLL_ENTRIES = DATA + 0x8000
"""Of 8 bytes each: the port, the signals, then three for each session."""
POLL_ENTRY_BYTES = 8
SMALL = DATA + 0xA000
"""4 KiB for what is used at once."""
CHILD_WORDS = DATA + 0xB000
STACK_TOP = DATA + 0x2_0000
"""Of a command that starts; 64 KiB."""
INPUT = DATA + 0x2_0000
OUTPUT = DATA + 0x4_0000
BUFFER_BYTES = 0x2_0000
CONTROL_ROOM_BYTES = 4096
"""With less room in OUTPUT nothing is begun that answers."""
CHUNK_BYTES = 16384
ARGUMENTS = DATA + 0x6_0000
"""Pointers to arguments and variables."""
VARIABLES = DATA + 0x8_0000
CHILD_TEXTS = DATA + 0xA_0000
"""What is put together for a command: paths, HOME=..."""
CHILD_TEXTS_END = DATA + 0xC_0000
FILE_TEXT = DATA + 0xC_0000
FILE_TEXT_BYTES = 0x2_0000
"""/etc/passwd and /etc/group; what comes behind is not seen."""
RINGS = DATA + 0x10_0000
RING_BYTES = STDIN_WINDOW_BYTES + 4096
"""The end of input to a terminal is a byte more than the window."""
DATA_BYTES = RINGS + SESSION_LIMIT * RING_BYTES - DATA
