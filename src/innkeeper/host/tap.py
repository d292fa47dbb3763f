# SPDX-License-Identifier: Apache-2.0
"""TAP interfaces: the host's end of a network cable, for those who have the rights.

Source: Linux, Documentation/networking/tuntap.rst and include/uapi/linux/if_tun.h; for bridges
include/uapi/linux/sockios.h. Three requests are all that is needed of the host, so no netlink library.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import sys

from innkeeper.errors import ConfigError, HostError

_TUNSETIFF = 0x4004_54CA
_TUNSETOFFLOAD = 0x4004_54D0
_TUNSETVNETHDRSZ = 0x4004_54D8
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6 = 1, 2, 4
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCGIFINDEX, _SIOCBRADDIF = 0x8913, 0x8914, 0x8933, 0x89A2
_IFF_UP = 1
_NAME_BYTES_MAX = 15
_IFREQ = struct.Struct("16sH22x")
_IFREQ_INDEX = struct.Struct("16si20x")


class Tap:
    """The TAP interface `name`, made if it does not exist; an empty name lets the host choose one.

    `fd` is non-blocking and carries frames behind a virtio header of `header_bytes`. An interface that
    somebody has made persistent and given to this user needs no rights. ConfigError for a name that cannot
    be, HostError when the host refuses.
    """

    def __init__(self, name: str, header_bytes: int) -> None:
        encoded = name.encode()
        if len(encoded) > _NAME_BYTES_MAX or any(c in "/ \t\n\0%" for c in name):
            raise ConfigError(
                f"{name!r} cannot be the name of an interface", "use up to 15 letters and digits"
            )
        if not sys.platform.startswith("linux"):
            raise HostError("TAP interfaces are Linux's", "use --net user")
        try:
            self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise HostError(f"the host has no TAP interfaces: {error}", "use --net user") from error
        try:
            flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
            answer = fcntl.ioctl(self.fd, _TUNSETIFF, _IFREQ.pack(encoded, flags))
            fcntl.ioctl(self.fd, _TUNSETVNETHDRSZ, struct.pack("i", header_bytes))
        except OSError as error:
            os.close(self.fd)
            raise HostError(_refusal(name, error), "use --net user, or ask for rights to it") from error
        self.name = answer[:16].split(b"\0")[0].decode()

    def set_offloads(self, *, checksum: bool, tso4: bool, tso6: bool) -> None:
        """What frames read from `fd` may leave to their reader."""
        bits = 0
        if checksum:
            bits = _TUN_F_CSUM | (_TUN_F_TSO4 if tso4 else 0) | (_TUN_F_TSO6 if tso6 else 0)
        fcntl.ioctl(self.fd, _TUNSETOFFLOAD, bits)

    def bring_up(self, bridge: str = "") -> None:
        """Add it to `bridge`, if one is named, and switch it on. Needs CAP_NET_ADMIN."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
            try:
                if bridge:
                    _add_to_bridge(asking.fileno(), bridge, self.name)
                answer = fcntl.ioctl(asking, _SIOCGIFFLAGS, _IFREQ.pack(self.name.encode(), 0))
                (_, flags) = _IFREQ.unpack(answer)
                fcntl.ioctl(asking, _SIOCSIFFLAGS, _IFREQ.pack(self.name.encode(), flags | _IFF_UP))
            except OSError as error:
                where = f" to bridge {bridge}" if bridge else ""
                raise HostError(
                    f"the host does not connect {self.name}{where}: {error.strerror}",
                    "it needs CAP_NET_ADMIN, and a bridge that exists",
                ) from error

    def close(self) -> None:
        """An interface that is not persistent is gone with it."""
        os.close(self.fd)


def _add_to_bridge(fd: int, bridge: str, name: str) -> None:
    answer = fcntl.ioctl(fd, _SIOCGIFINDEX, _IFREQ_INDEX.pack(name.encode(), 0))
    (_, index) = _IFREQ_INDEX.unpack(answer)
    encoded = bridge.encode()
    if len(encoded) > _NAME_BYTES_MAX:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    fcntl.ioctl(fd, _SIOCBRADDIF, _IFREQ_INDEX.pack(encoded, index))


def _refusal(name: str, error: OSError) -> str:
    if error.errno == errno.EBUSY:
        return f"interface {name} is in use by another program"
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"this user may not have the interface {name or 'it asked for'}"
    if error.errno == errno.EINVAL:
        return f"{name} is no TAP interface, or one that was made without offloads"
    return f"the host refuses the interface {name}: {error.strerror}"
