# SPDX-License-Identifier: Apache-2.0
"""DHCP server for the one guest on the cable, whose address is always the same.

Spec: RFC 2131 4.3 "DHCP server behavior", RFC 2132 for options, RFC 3397 for the search list.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from innkeeper.network.link import GuestLink
from innkeeper.network.subnet import BROADCAST4, UNSPECIFIED4, Subnet
from innkeeper.spec.internet import PORT_DHCP_CLIENT, PORT_DHCP_SERVER

LEASE_S = 86_400
_FIXED = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_MAGIC = bytes.fromhex("63825363")
_BOOT_REQUEST, _BOOT_REPLY, _ETHERNET = 1, 2, 1
_BROADCAST_FLAG = 0x8000
_DISCOVER, _OFFER, _REQUEST, _ACK, _NAK, _INFORM = 1, 2, 3, 5, 6, 8
_PAD, _END = 0, 255
_SUBNET_MASK, _ROUTER, _DNS, _HOST_NAME, _DOMAIN_NAME, _MTU, _BROADCAST = 1, 3, 6, 12, 15, 26, 28
_REQUESTED_ADDRESS, _LEASE_TIME, _MESSAGE_TYPE, _SERVER, _SEARCH = 50, 51, 53, 54, 119
_REPLY_BYTES_MIN = 300
"""What BOOTP clients expect at least (RFC 1542 2.1)."""


@dataclass(frozen=True)
class HostConfiguration:
    """What the guest is told about itself beyond its address."""

    host_name: str = ""
    search: tuple[str, ...] = ()
    """Domains to complete short names with."""
    mtu_bytes: int = 1500


class DhcpServer:
    """Answers DISCOVER, REQUEST and INFORM; there is nothing to remember about a lease."""

    def __init__(self, link: GuestLink, subnet: Subnet, configuration: HostConfiguration) -> None:
        self._link, self._subnet, self._configuration = link, subnet, configuration

    def handle(self, message: memoryview) -> None:
        """A message to the server's port."""
        reply = self.reply(bytes(message))
        if reply is not None:
            data, target = reply
            self._link.send_udp(self._subnet.gateway4, PORT_DHCP_SERVER, target, PORT_DHCP_CLIENT, data)

    def reply(self, message: bytes) -> tuple[bytes, bytes] | None:
        """The answer and the address it goes to; None if there is none."""
        if len(message) < _FIXED.size or message[_FIXED.size - 4 : _FIXED.size] != _MAGIC:
            return None
        fields = _FIXED.unpack_from(message)
        operation, hardware, address_bytes, _, exchange, _, flags, client, _, _, relay, chaddr, *_ = fields
        options = _parse_options(message[_FIXED.size :])
        if (operation, hardware, address_bytes) != (_BOOT_REQUEST, _ETHERNET, 6) or relay != UNSPECIFIED4:
            return None
        kind = options.get(_MESSAGE_TYPE, b"\0")[0]
        server = options.get(_SERVER, self._subnet.gateway4)
        if server != self._subnet.gateway4 or kind not in (_DISCOVER, _REQUEST, _INFORM):
            return None
        answer = _OFFER if kind == _DISCOVER else _ACK
        if kind == _REQUEST:
            requested = options.get(_REQUESTED_ADDRESS, client)
            if requested not in (self._subnet.guest4, UNSPECIFIED4):
                answer = _NAK
        yours = self._subnet.guest4 if answer in (_OFFER, _ACK) and kind != _INFORM else UNSPECIFIED4
        fixed = _FIXED.pack(
            _BOOT_REPLY, _ETHERNET, 6, 0, exchange, 0, flags, client if answer != _NAK else UNSPECIFIED4,
            yours, self._subnet.gateway4 if answer != _NAK else UNSPECIFIED4, relay, chaddr, b"", b"", _MAGIC,
        )  # fmt: skip
        data = fixed + self._options(answer, leased=yours != UNSPECIFIED4)
        # A client without an address may not be able to take unicast; ours can, but it costs nothing here.
        unicast = client != UNSPECIFIED4 and answer != _NAK and not flags & _BROADCAST_FLAG
        return data.ljust(_REPLY_BYTES_MIN, b"\0"), client if unicast else BROADCAST4

    def _options(self, kind: int, *, leased: bool) -> bytes:
        subnet, configuration = self._subnet, self._configuration
        options = [(_MESSAGE_TYPE, bytes((kind,))), (_SERVER, subnet.gateway4)]
        if leased:
            options.append((_LEASE_TIME, LEASE_S.to_bytes(4, "big")))
        if kind != _NAK:
            options += [
                (_SUBNET_MASK, subnet.netmask4),
                (_BROADCAST, subnet.broadcast4),
                *([(_ROUTER, subnet.gateway4)] if subnet.leads_out else []),
                (_DNS, subnet.dns4),
                (_MTU, configuration.mtu_bytes.to_bytes(2, "big")),
            ]
            if configuration.host_name:
                options.append((_HOST_NAME, configuration.host_name.encode("ascii", "ignore")[:255]))
            if configuration.search:
                options.append((_DOMAIN_NAME, configuration.search[0].encode("ascii", "ignore")[:255]))
                options += _search_option(configuration.search)
        return b"".join(bytes((code, len(value))) + value for code, value in options) + bytes((_END,))


def encode_name(name: str) -> bytes:
    """A domain name as labels with their lengths, without compression. Spec: RFC 1035 3.1."""
    labels = [label.encode("ascii", "ignore")[:63] for label in name.split(".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def _search_option(search: tuple[str, ...]) -> list[tuple[int, bytes]]:
    """The search list, in pieces of up to 255 bytes that the client joins (RFC 3396)."""
    value = b"".join(map(encode_name, search))[:1024]
    return [(_SEARCH, value[start : start + 255]) for start in range(0, len(value), 255)]


def _parse_options(data: bytes) -> dict[int, bytes]:
    """Options by number, those that occur again joined (RFC 3396); up to the first that is damaged."""
    options: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != _END:
        if data[at] == _PAD:
            at += 1
            continue
        if at + 1 >= len(data) or at + 2 + data[at + 1] > len(data):
            break
        value = data[at + 2 : at + 2 + data[at + 1]]
        if value:
            options[data[at]] = options.get(data[at], b"") + value
        at += 2 + data[at + 1]
    return options
