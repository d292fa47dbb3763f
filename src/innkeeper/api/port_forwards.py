# SPDX-License-Identifier: Apache-2.0
"""Ports of the host that lead to ports of a guest, as users write them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from innkeeper.errors import ConfigError

LOOPBACK = "127.0.0.1"
_SYNTAX = "write [HOST_ADDR:]HOST_PORT:GUEST_PORT[/udp], an IPv6 address in brackets"
_TEXT = re.compile(r"(?:(\[[0-9a-f:.]+\]|[0-9.]+):)?(\d{1,5}):(\d{1,5})(?:/(tcp|udp))?", re.IGNORECASE)


@dataclass(frozen=True)
class Forward:
    """Port `host_port` at `host_address` leads to `guest_port`. A `host_port` of 0 asks for any free one."""

    host_port: int
    guest_port: int
    host_address: str = LOOPBACK
    protocol: str = "tcp"

    @classmethod
    def parse(cls, text: str) -> Forward:
        """Read `[HOST_ADDR:]HOST_PORT:GUEST_PORT[/udp]`. Raises ConfigError."""
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise ConfigError(f"{text!r} is no port forward", _SYNTAX)
        host_port, guest_port = int(match[2]), int(match[3])
        if host_port > 65535 or not 1 <= guest_port <= 65535:
            raise ConfigError(f"{text!r} names a port outside 1..65535", _SYNTAX)
        try:
            address = str(ipaddress.ip_address((match[1] or LOOPBACK).strip("[]")))
        except ValueError:
            raise ConfigError(f"{text!r} names no address", _SYNTAX) from None
        return cls(host_port, guest_port, address, (match[4] or "tcp").lower())

    def __str__(self) -> str:
        address = f"[{self.host_address}]" if ":" in self.host_address else self.host_address
        return f"{address}:{self.host_port}:{self.guest_port}/{self.protocol}"
