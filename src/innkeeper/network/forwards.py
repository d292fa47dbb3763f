# SPDX-License-Identifier: Apache-2.0
"""Ports of the host that lead to ports of the guest."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import replace

from innkeeper.api.port_forwards import Forward as Forward
from innkeeper.errors import ConfigError, HostError
from innkeeper.network.event_loop import Deadline, EventLoop
from innkeeper.network.limits import NS_PER_S
from innkeeper.network.subnet import Subnet
from innkeeper.network.tcp_table import TcpTable
from innkeeper.network.udp_table import UdpTable

_BACKLOG = 128
_ACCEPTS_MAX = 64
_DATAGRAM_BYTES_MAX = 65535
_OUT_OF_SOCKETS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class _Listener:
    """A bound socket. Where the host has no more sockets it rests for a second."""

    def __init__(
        self, loop: EventLoop, subnet: Subnet, tcp: TcpTable, udp: UdpTable, forward: Forward
    ) -> None:
        self._loop, self._subnet, self._tcp, self._udp = loop, subnet, tcp, udp
        self._socket = _bind(forward)
        self.forward = replace(forward, host_port=self._socket.getsockname()[1])
        self._ready = self._accept if forward.protocol == "tcp" else self._datagrams
        self._rest = Deadline(loop, self._listen)
        self._listen()

    def close(self) -> None:
        self._rest.close()
        self._loop.remove_reader(self._socket.fileno())
        if self.forward.protocol == "udp":
            self._udp.close_forward(self._socket)
        self._socket.close()

    def _listen(self) -> None:
        self._loop.add_reader(self._socket.fileno(), self._ready)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_MAX):
            try:
                client, address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF_SOCKETS:
                    self._loop.remove_reader(self._socket.fileno())
                    self._rest.set(self._loop.clock.now_ns() + NS_PER_S)
                    return
                continue
            client.setblocking(False)
            source = self._source(address[0])
            if not self._tcp.opener.open_to_guest(client, source, address[1], self.forward.guest_port):
                client.close()

    def _datagrams(self) -> None:
        for _ in range(_ACCEPTS_MAX):
            try:
                data, client = self._socket.recvfrom(_DATAGRAM_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                # A client is gone: told once, and of no matter to the others.
                continue
            source = self._source(client[0])
            self._udp.from_forward(self._socket, client, source, self.forward.guest_port, data)

    def _source(self, client: str) -> bytes:
        """Who the guest thinks is speaking: the client where the guest can answer to it, else its gateway."""
        address = ipaddress.ip_address(client.partition("%")[0])
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        address = mapped or address
        if (
            address.version == 6
            or address.is_loopback
            or address.is_multicast
            or address.is_unspecified
            or self._subnet.contains(address.packed)
        ):
            return self._subnet.gateway4
        return address.packed


class Forwards:
    """The forwards of one VM."""

    def __init__(self, loop: EventLoop, subnet: Subnet, tcp: TcpTable, udp: UdpTable) -> None:
        self._loop, self._subnet, self._tcp, self._udp = loop, subnet, tcp, udp
        self._listeners: dict[tuple[str, str, int], _Listener] = {}

    def add(self, forward: Forward) -> Forward:
        """Open the host's port; the forward with the port that it has got. Raises HostError, ConfigError."""
        listener = _Listener(self._loop, self._subnet, self._tcp, self._udp, forward)
        self._listeners[_key(listener.forward)] = listener
        return listener.forward

    def remove(self, forward: Forward) -> None:
        """Close the host's port; TCP connections that are open go on. Raises ConfigError."""
        listener = self._listeners.pop(_key(forward), None)
        if listener is None:
            raise ConfigError(f"there is no forward {forward}", "see which there are")
        listener.close()

    def list(self) -> tuple[Forward, ...]:
        return tuple(listener.forward for listener in self._listeners.values())

    def close(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()


def _key(forward: Forward) -> tuple[str, str, int]:
    return forward.protocol, forward.host_address, forward.host_port


def _bind(forward: Forward) -> socket.socket:
    family = socket.AF_INET6 if ":" in forward.host_address else socket.AF_INET
    kind = socket.SOCK_STREAM if forward.protocol == "tcp" else socket.SOCK_DGRAM
    bound = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.setblocking(False)
        bound.bind((forward.host_address, forward.host_port))
        if kind == socket.SOCK_STREAM:
            bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        where = f"port {forward.host_port} of {forward.host_address} ({forward.protocol})"
        if error.errno == errno.EADDRINUSE:
            raise HostError(f"{where} is in use", "choose another port, or end what uses it") from None
        if error.errno == errno.EACCES:
            raise HostError(f"{where} is not for everybody", "choose a port above 1023") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(f"{forward.host_address} is not an address of this host") from None
        reason = os.strerror(error.errno or 0)
        raise HostError(f"{where} cannot be opened: {reason}") from None
    return bound
