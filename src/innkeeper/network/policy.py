# SPDX-License-Identifier: Apache-2.0
"""What a guest may reach: rules as the user writes them, and what is closed if nobody says otherwise."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from innkeeper.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

HOST = "host"
"""The host's loopback, which the guest reaches at its gateway's address."""
PRIVATE = "private"
"""Every range below: what a machine on the internet must not be able to reach through its host."""

CLOSED_RANGES: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        # Link-local, where clouds keep their metadata services.
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "64:ff9b:1::/48",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
    )
)
"""Opened by a target that names an address in them. Spec: RFC 6890 2 "IPv4 and IPv6 Registries"."""

NEVER_RANGES: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "224.0.0.0/4",
        "240.0.0.0/4",
        # Unspecified, loopback and IPv4-compatible; IPv4-mapped; Teredo and 6to4, which hide an IPv4 address.
        "::/96",
        "::ffff:0:0/96",
        "2001::/32",
        "2002::/16",
        "ff00::/8",
    )
)
"""No destination for a guest, whatever the user says. The host's loopback is asked for as `HOST`."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_PROTOCOLS = ("tcp", "udp", "icmp")
_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(\*\.)?({_LABEL}\.)*{_LABEL}")
_SYNTAX = "write [tcp:|udp:|icmp:]HOST[:PORT[-PORT],…], HOST a name, *.name, address, CIDR, host or private"


def plain_name(name: str) -> str:
    """`name` in lower case, without the dot of the root."""
    return name.rstrip(".").lower()


@dataclass(frozen=True)
class Target:
    """Somewhere that a rule is about. Without `network` and `name`: everywhere."""

    network: Network | None = None
    name: str = ""
    """A host's name, `*.name` for all names below it, HOST, or PRIVATE."""
    ports: tuple[tuple[int, int], ...] = ()
    """First and last; none: all."""
    protocol: str = ""

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `[PROTOCOL:]HOST[:PORTS]`. Raises ConfigError."""
        rest, protocol = text.strip().lower(), ""
        for known in _PROTOCOLS:
            if rest.startswith(known + ":"):
                protocol, rest = known, rest[len(known) + 1 :]
        try:
            host, ports = _split_ports(rest)
            if protocol == "icmp" and ports:
                raise ValueError("ICMP has no ports")
            parsed_ports = tuple(_port_range(part) for part in ports.split(",")) if ports else ()
            if host == "*":
                return cls(ports=parsed_ports, protocol=protocol)
            if ":" in host or re.fullmatch(r"[0-9./]+", host):
                return cls(ipaddress.ip_network(host, strict=False), "", parsed_ports, protocol)
        except ValueError as error:
            raise ConfigError(f"{text!r} is no destination: {error}", _SYNTAX) from None
        if len(host) > 253 or not _NAME.fullmatch(plain_name(host)):
            raise ConfigError(f"{text!r} is no destination", _SYNTAX)
        return cls(None, plain_name(host), parsed_ports, protocol)

    def covers(self, protocol: str, port: int) -> bool:
        """Whether the rule is about this protocol and port."""
        if self.protocol and self.protocol != protocol:
            return False
        return not self.ports or any(first <= port <= last for first, last in self.ports)

    def holds_address(self, address: Address) -> bool:
        """Whether `address` itself is named, not by way of a DNS name."""
        if self.name == PRIVATE:
            return is_closed(address)
        return self.network is not None and address in self.network

    def holds_name(self, name: str) -> bool:
        """Whether the plain DNS name `name` is named."""
        if not self.name or self.name in (HOST, PRIVATE):
            return False
        if self.name.startswith("*."):
            return name.endswith(self.name[1:])
        return name == self.name

    @property
    def is_everywhere(self) -> bool:
        return self.network is None and not self.name


def _split_ports(text: str) -> tuple[str, str]:
    """Host and ports of `HOST[:PORTS]`; an IPv6 address with ports stands in brackets."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise ValueError("a bracket is not closed")
        return host, rest[1:]
    if text.count(":") > 1:
        return text, ""
    host, _, ports = text.partition(":")
    return host, ports


def _port_range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    bounds = int(first), int(last if dash else first)
    if not 1 <= bounds[0] <= bounds[1] <= 65535:
        raise ValueError(f"{text} is not a range of ports")
    return bounds


@dataclass(frozen=True)
class Policy:
    """Rules in force: `deny` before `allow` before the closed ranges before the default.

    The default policy lets a guest reach the internet, and nothing of the host or its private networks.
    """

    default: Literal["allow", "deny"] = "allow"
    allow: tuple[Target, ...] = ()
    deny: tuple[Target, ...] = ()

    @classmethod
    def parse(cls, default: str = "allow", allow: Iterable[str] = (), deny: Iterable[str] = ()) -> Policy:
        """Read the user's words; `default` is allow, deny, or list (deny, but for what is allowed)."""
        if default not in ("allow", "deny", "list"):
            raise ConfigError(f"{default!r} is no policy", "write allow, deny or list")
        return cls(
            "allow" if default == "allow" else "deny",
            tuple(map(Target.parse, allow)),
            tuple(map(Target.parse, deny)),
        )

    def refusal(
        self, protocol: str, address: Address, port: int, names: Iterable[str], *, is_own: bool
    ) -> str | None:
        """Why a guest may not reach `address`, or None if it may.

        `names` are those that the guest was told are at this address; `is_own`: it is one of the host's own.
        """
        if _in(address, NEVER_RANGES):
            return "no guest may go there"
        names = tuple(names)
        inner = embedded(address)
        rules = [t for t in self.deny if t.covers(protocol, port)]
        if any(t.is_everywhere or t.holds_address(inner) or any(map(t.holds_name, names)) for t in rules):
            return "denied by a rule"
        rules = [t for t in self.allow if t.covers(protocol, port)]
        if any(t.holds_address(inner) for t in rules):
            return None
        if is_own:
            return "an address of the host"
        # A name does not open them: who owns the name could have it point anywhere.
        if _in(inner, NEVER_RANGES) or is_closed(inner):
            return "a private range"
        if any(t.is_everywhere or any(map(t.holds_name, names)) for t in rules):
            return None
        return None if self.default == "allow" else "not in the list of what is allowed"

    def host_refusal(self, protocol: str, port: int) -> str | None:
        """Why a guest may not reach the host's loopback through its gateway, or None if it may."""
        for targets, answer in ((self.deny, "denied by a rule"), (self.allow, None)):
            if any(target.name == HOST and target.covers(protocol, port) for target in targets):
                return answer
        return "the host's loopback"

    def may_resolve(self, name: str) -> bool:
        """Whether a guest may ask for the plain name `name`: a question is a message to who owns the name."""
        # A rule about some ports or one protocol does not make the name unspeakable.
        if any(t.holds_name(name) and not t.ports and not t.protocol for t in self.deny):
            return False
        return self.default == "allow" or any(t.holds_name(name) or t.is_everywhere for t in self.allow)


def _in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


@functools.lru_cache(1024)
def is_closed(address: Address) -> bool:
    """Whether `address` is in a range that is closed by default."""
    return _in(address, CLOSED_RANGES)


def embedded(address: Address) -> Address:
    """The IPv4 address that a NAT64 gateway would make of `address`, or itself. Spec: RFC 6052 2."""
    if isinstance(address, ipaddress.IPv6Address) and address in _NAT64:
        return ipaddress.IPv4Address(address.packed[12:])
    return address
