# SPDX-License-Identifier: Apache-2.0
"""The private networks of one user: which there are, and where their members meet.

A network is a file `NAME` in the folder of definitions that holds its subnet. Its members are the VMM
processes that have bound a socket `NUMBER` in its folder of sockets, where NUMBER is the member's place in
the subnet: the file system gives each number once. Who joins connects to all who are there.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from innkeeper.errors import ConfigError, HostError
from innkeeper.host.private import private_folder, read_private

NAME_SYNTAX = "a letter, then up to 30 letters, digits or -, all lower case"
RESERVED_NAMES = ("none", "user", "tap", "bridge", "host", "private")
PREFIX_BITS = 24
FIRST_MEMBER, LAST_MEMBER = 2, 254
"""1 is the network's own address, at which each member's VMM answers its own guest."""
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_SUBNETS = [f"10.{second}.{third}.0/{PREFIX_BITS}" for second in (89, 90) for third in range(256)]
"""Of these a network gets the first that is free."""
_DEFINITION_BYTES_MAX = 64
_BACKLOG = 256


@dataclass(frozen=True)
class PrivateNetwork:
    """`subnet` is an IPv4 range of PREFIX_BITS; `members` the numbers of those who are there."""

    name: str
    subnet: ipaddress.IPv4Network
    members: tuple[int, ...] = ()


@dataclass(frozen=True)
class Membership:
    """A place in a network: `listening` takes those who come later, `peers` are connected to who is there."""

    network: PrivateNetwork
    number: int
    path: Path
    listening: socket.socket
    peers: tuple[socket.socket, ...]

    @property
    def address(self) -> ipaddress.IPv4Address:
        return self.network.subnet[self.number]

    def leave(self) -> None:
        """Give the place up; the sockets are closed by whoever uses them."""
        with contextlib.suppress(OSError):
            self.path.unlink()


class PrivateNetworks:
    """The networks of one user, defined in `definitions`, with sockets in `sockets`."""

    def __init__(self, definitions: Path, sockets: Path) -> None:
        self._definitions, self._sockets = definitions, sockets

    def create(self, name: str, subnet: str | None = None) -> PrivateNetwork:
        """Raises ConfigError for a name or range that cannot be or is there already."""
        _check_name(name)
        with self._locked():
            known = self.list()
            if any(network.name == name for network in known):
                raise ConfigError(f"there is a network {name!r} already", "see inn network ls")
            taken = [network.subnet for network in known]
            wanted = _parse_subnet(subnet) if subnet else _free_subnet(taken)
            for other in known:
                if wanted.overlaps(other.subnet):
                    raise ConfigError(f"{wanted} overlaps the range of {other.name}", "choose another range")
            place = self._definitions / name
            with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{wanted}\n")
        return PrivateNetwork(name, wanted)

    def remove(self, name: str) -> None:
        """Raises ConfigError if it does not exist, or VMs are on it."""
        with self._locked():
            network = self.get(name)
            if network.members:
                raise ConfigError(f"{len(network.members)} VMs are on the network {name}", "stop them first")
            (self._definitions / name).unlink()

    def list(self) -> list[PrivateNetwork]:
        """All of them, by name."""
        if not self._definitions.is_dir():
            return []
        names = sorted(path.name for path in self._definitions.iterdir() if _NAME.fullmatch(path.name))
        return [self.get(name) for name in names]

    def get(self, name: str) -> PrivateNetwork:
        """Raises ConfigError if it does not exist or its file is damaged."""
        _check_name(name)
        try:
            text = read_private(self._definitions / name, _DEFINITION_BYTES_MAX).decode("ascii").strip()
        except FileNotFoundError:
            raise ConfigError(
                f"there is no network {name!r}", f"make it: inn network create {name}"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the network {name} cannot be read: {error}", "create it again") from error
        return PrivateNetwork(name, _parse_subnet(text), tuple(self._members(name)))

    def join(self, name: str) -> Membership:
        """Take the first free place. Raises ConfigError for no such network, HostError for a full one."""
        with self._locked():
            network = self.get(name)
            folder = private_folder(private_folder(self._sockets) / name)
            taken = set(network.members)
            number = next((n for n in range(FIRST_MEMBER, LAST_MEMBER + 1) if n not in taken), None)
            if number is None:
                raise HostError(f"the network {name} is full", f"it has room for {len(taken)} VMs")
            listening = _listen(folder / str(number))
            peers = [_connect(folder / str(member)) for member in network.members]
            there = tuple(peer for peer in peers if peer is not None)
            return Membership(network, number, folder / str(number), listening, there)

    def _members(self, name: str) -> Iterator[int]:
        folder = self._sockets / name
        if not folder.is_dir():
            return
        for path in sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name)):
            if path.name.isdigit() and _is_alive(path):
                yield int(path.name)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time: who joins sees everybody who is there, and is seen by all who come later."""
        folder = private_folder(self._definitions)
        fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name in RESERVED_NAMES:
        raise ConfigError(f"{name!r} cannot be the name of a network", f"use {NAME_SYNTAX}")


def _parse_subnet(text: str) -> ipaddress.IPv4Network:
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no range of addresses: {error}", "write one as 10.89.0.0/24"
        ) from None
    if subnet.prefixlen != PREFIX_BITS or not subnet.is_private:
        raise ConfigError(f"{subnet} is not a private range of 256 addresses", "write one as 10.89.0.0/24")
    return subnet


def _free_subnet(taken: list[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    for text in _SUBNETS:
        subnet = ipaddress.IPv4Network(text)
        if not any(subnet.overlaps(other) for other in taken):
            return subnet
    raise ConfigError("no range of addresses is free", "name one, or remove a network")


def _connect(path: Path) -> socket.socket | None:
    """A connection to a member; None where it is gone meanwhile, or does not take any (EAGAIN)."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.setblocking(False)
    try:
        peer.connect(os.fspath(path))
    except OSError:
        peer.close()
        return None
    return peer


def _is_alive(path: Path) -> bool:
    """Whether somebody is bound there, without a connection that it would see."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return False
        except OSError:  # EPROTOTYPE: a living socket of another type
            return True
    return True


def _listen(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.setblocking(False)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listening.bind(os.fspath(path))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise HostError(f"cannot meet other VMs at {path}: {error}", "set INNKEEPER_RUNTIME") from error
    return listening
