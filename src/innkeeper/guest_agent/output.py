# SPDX-License-Identifier: Apache-2.0
"""Frames to the VMM: they wait in one buffer until the port takes them."""

from __future__ import annotations

from innkeeper.guest_agent import layout as at
from innkeeper.guest_agent import linux
from innkeeper.guest_agent import protocol as say
from innkeeper.guest_agent.layout import BUFFER_BYTES, CONTROL_ROOM_BYTES, OUTPUT
from innkeeper.guest_agent.subset import ERRORS, agent, call3, store32
from innkeeper.guest_agent.texts import copy_bytes
from innkeeper.ir.native import Words

HEADER_BYTES = say.HEADER_BYTES


@agent
def room(a: Words) -> int:
    """How many bytes fit into the buffer."""
    return BUFFER_BYTES - a[at.OUT_END]


@agent
def has_control_room(a: Words) -> int:
    """Whether something may be begun that answers."""
    return room(a) >= CONTROL_ROOM_BYTES


@agent
def end_frame(a: Words, kind: int, token: int, size: int) -> int:
    """A frame whose `size` bytes of payload stand behind the room for its header already."""
    end = OUTPUT + a[at.OUT_END]
    store32(end, kind | size << 8)
    store32(end + 4, token)
    a[at.OUT_END] = a[at.OUT_END] + HEADER_BYTES + size
    return 0


@agent
def payload_at(a: Words) -> int:
    """Where the payload of the next frame goes."""
    return OUTPUT + a[at.OUT_END] + HEADER_BYTES


@agent
def send(a: Words, kind: int, token: int, payload: int, size: int) -> int:
    """A frame; the caller has looked for room."""
    copy_bytes(payload_at(a), payload, size)
    end_frame(a, kind, token, size)
    return 0


@agent
def send_number(a: Words, kind: int, token: int, number: int) -> int:
    """A frame of 32 bits."""
    store32(payload_at(a), number)
    end_frame(a, kind, token, 4)
    return 0


@agent
def send_failure(a: Words, token: int, errno: int, stage: int) -> int:
    """Something could not be done."""
    store32(payload_at(a), errno)
    store32(payload_at(a) + 4, stage)
    end_frame(a, say.FAILED, token, 8)
    return 0


@agent
def flush(a: Words) -> int:
    """Give the port what it takes."""
    while a[at.OUT_START] < a[at.OUT_END]:
        size = a[at.OUT_END] - a[at.OUT_START]
        done = call3(linux.WRITE, a[at.PORT], OUTPUT + a[at.OUT_START], size)
        if done >= ERRORS or done == 0:
            break
        a[at.OUT_START] = a[at.OUT_START] + done
    rest = a[at.OUT_END] - a[at.OUT_START]
    # Only far downwards: what is left is small, or much has gone.
    if a[at.OUT_START] >= rest:
        copy_bytes(OUTPUT, OUTPUT + a[at.OUT_START], rest)
        a[at.OUT_START] = 0
        a[at.OUT_END] = rest
    return 0
