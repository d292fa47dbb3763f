# SPDX-License-Identifier: Apache-2.0
"""The kernel's TCP/IP as a guest: a process in a network namespace of its own, with a TAP device.

Run as a program with the descriptor of a UNIX socket. It sends the TAP's descriptor through that, and then
obeys: a line of JSON in, a line of JSON out. Needs root.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

from tests.differential.network.guest_commands import COMMANDS

CLONE_NEWNET = 0x4000_0000
TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 1, 2, 4
VNET_HEADER_BYTES = 12


def make_tap(offloads: bool) -> int:
    """A TAP device `tap0` with virtio headers on its frames."""
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER_BYTES))
    if offloads:
        fcntl.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)
    return fd


def configure(mtu_bytes: int, mac: str) -> None:
    """The addresses that DHCP and SLAAC would give. SLAAC does its own part."""
    # The cable has two ends: nobody else can have our addresses.
    Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
    Path("/proc/sys/net/ipv6/conf/tap0/accept_dad").write_text("0")
    for line in (
        "link set lo up",
        f"link set tap0 address {mac} mtu {mtu_bytes} up",
        "address add 10.0.2.15/24 dev tap0",
        "route add default via 10.0.2.2",
    ):
        subprocess.run(["ip", *line.split()], check=True)


def main() -> None:
    options = json.loads(sys.argv[2])
    control = socket.socket(fileno=int(sys.argv[1]))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    tap = make_tap(options["offloads"])
    configure(options["mtu_bytes"], options["mac"])
    socket.send_fds(control, [b"tap"], [tap])
    os.close(tap)
    lines = control.makefile("rw", encoding="utf-8")
    for line in lines:
        request = json.loads(line)
        try:
            answer = COMMANDS[request.pop("do")](**request)
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        lines.write(json.dumps(answer) + "\n")
        lines.flush()


if __name__ == "__main__":
    main()
