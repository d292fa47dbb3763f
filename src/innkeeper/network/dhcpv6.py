# SPDX-License-Identifier: Apache-2.0
"""DHCPv6 for what router advertisements do not say: information requests only, addresses are SLAAC's.

Spec: RFC 8415 18.3.6 "Receipt of Information-request Messages", RFC 3646 for DNS.
"""

from __future__ import annotations

import struct

from innkeeper.network.dhcp import HostConfiguration, encode_name
from innkeeper.network.ethernet import GATEWAY_MAC
from innkeeper.network.link import GuestLink
from innkeeper.network.subnet import Subnet
from innkeeper.spec.internet import PORT_DHCPV6_CLIENT, PORT_DHCPV6_SERVER

_INFORMATION_REQUEST, _REPLY, _SOLICIT, _ADVERTISE = 11, 7, 1, 2
_CLIENT_ID, _SERVER_ID, _STATUS, _DNS, _SEARCH = 1, 2, 13, 23, 24
_NO_ADDRESSES = 2
_OPTION = struct.Struct("!HH")
_SERVER_DUID = struct.pack("!HH", 3, 1) + GATEWAY_MAC
"""A DUID from the link-layer address. Spec: RFC 8415 11.4."""
_OPTION_BYTES_MAX = 130


class Dhcpv6Server:
    """Answers information requests; and a client that asks for an address is told that there are none."""

    def __init__(self, link: GuestLink, subnet: Subnet, configuration: HostConfiguration) -> None:
        self._link, self._subnet, self._configuration = link, subnet, configuration

    def handle(self, source: bytes, message: memoryview) -> None:
        """A message to the server's port, from `source`."""
        data = self.reply(bytes(message))
        if data is not None:
            self._link.send_udp(self._subnet.router6, PORT_DHCPV6_SERVER, source, PORT_DHCPV6_CLIENT, data)

    def reply(self, message: bytes) -> bytes | None:
        """The answer, None if there is none."""
        if len(message) < 4 or message[0] not in (_INFORMATION_REQUEST, _SOLICIT):
            return None
        options = _parse_options(message[4:])
        if options is None or options.get(_SERVER_ID, _SERVER_DUID) != _SERVER_DUID:
            return None
        client = options.get(_CLIENT_ID, b"")
        asks_address = message[0] == _SOLICIT
        if len(client) > _OPTION_BYTES_MAX or (asks_address and not client):
            return None
        kind = _ADVERTISE if asks_address else _REPLY
        data = bytes((kind,)) + message[1:4] + _option(_SERVER_ID, _SERVER_DUID)
        if client:
            data += _option(_CLIENT_ID, client)
        if asks_address:
            data += _option(_STATUS, _NO_ADDRESSES.to_bytes(2, "big") + b"use SLAAC")
        data += _option(_DNS, self._subnet.dns6)
        if self._configuration.search:
            data += _option(_SEARCH, b"".join(map(encode_name, self._configuration.search))[:1024])
        return data


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + value


def _parse_options(data: bytes) -> dict[int, bytes] | None:
    """Options by number, the first of each; None if they are damaged."""
    options: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if at + _OPTION.size > len(data):
            return None
        code, size_bytes = _OPTION.unpack_from(data, at)
        at += _OPTION.size
        if at + size_bytes > len(data):
            return None
        options.setdefault(code, data[at : at + size_bytes])
        at += size_bytes
    return options
