# SPDX-License-Identifier: Apache-2.0
"""The control queue of a network device: what a driver may ask for while it runs.

Spec: virtio-1.3 5.1.6.5 "Control Virtqueue".
"""

from __future__ import annotations

from innkeeper.devices.virtio.net_state import NetState
from innkeeper.devices.virtio.queue import Chain
from innkeeper.errors import GuestError
from innkeeper.spec.virtio import (
    NET_CTRL_ANNOUNCE,
    NET_CTRL_ANNOUNCE_ACK,
    NET_CTRL_GUEST_OFFLOADS,
    NET_CTRL_GUEST_OFFLOADS_SET,
    NET_CTRL_MAC,
    NET_CTRL_MAC_ADDR_SET,
    NET_CTRL_MAC_TABLE_SET,
    NET_CTRL_RX,
    NET_CTRL_RX_COMMANDS,
    NET_ERR,
    NET_OK,
)

COMMAND_BYTES_MAX = 65536
"""A table of addresses is the longest command; Linux sends one address for each multicast group."""


def answer_command(state: NetState, chain: Chain, offloads_allowed: int) -> int:
    """Carry out one command on `state` and write its one byte of answer; returns the bytes written.

    `offloads_allowed`: bits that GUEST_OFFLOADS_SET may have. GuestError for a buffer that is no command.
    """
    if not chain.writable:
        raise GuestError("a control command has no room for its answer")
    if sum(map(len, chain.readable)) > COMMAND_BYTES_MAX:
        raise GuestError(f"a control command is longer than {COMMAND_BYTES_MAX} bytes")
    command = b"".join(chain.readable)
    if len(command) < 2:
        raise GuestError("a control command is shorter than its header")
    done = _carry_out(state, command[0], command[1], command[2:], offloads_allowed)
    chain.writable[0][0] = NET_OK if done else NET_ERR
    return 1


def _carry_out(state: NetState, kind: int, command: int, data: bytes, offloads_allowed: int) -> bool:
    if kind == NET_CTRL_RX:
        # Filters are best effort: all that a backend delivers passes, which every mode allows.
        return command < NET_CTRL_RX_COMMANDS and len(data) == 1
    if kind == NET_CTRL_MAC and command == NET_CTRL_MAC_TABLE_SET:
        return True
    if kind == NET_CTRL_MAC and command == NET_CTRL_MAC_ADDR_SET:
        return _set_address(state, data)
    if kind == NET_CTRL_ANNOUNCE and command == NET_CTRL_ANNOUNCE_ACK:
        state.announce = False
        return True
    if kind == NET_CTRL_GUEST_OFFLOADS and command == NET_CTRL_GUEST_OFFLOADS_SET and len(data) == 8:
        wanted = int.from_bytes(data, "little")
        if wanted & ~offloads_allowed:
            return False
        state.guest_offloads = wanted
        return True
    return False


def _set_address(state: NetState, mac: bytes) -> bool:
    if len(mac) != 6 or mac[0] & 1:
        return False
    state.mac = mac
    return True
