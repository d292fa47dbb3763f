# SPDX-License-Identifier: Apache-2.0
"""The network adapters of one VM: from what the user asked for to the board's cards and their backends."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from innkeeper.devices.virtio.net_frame import NetBackend
from innkeeper.errors import ConfigError
from innkeeper.machine.board import NetCard
from innkeeper.machine.io_loop import IoLoop

if TYPE_CHECKING:
    from innkeeper.network.forwards import Forward
    from innkeeper.network.limits import Limits
    from innkeeper.network.nat import UserNet
    from innkeeper.network.policy import Policy
    from innkeeper.network.refusals import Refusal

ADAPTERS_MAX = 4
_KINDS = "write none, user, tap:INTERFACE or bridge:BRIDGE"
_NET_WORD = "innkeeper.net"


def random_mac() -> bytes:
    """A unicast, locally administered address. Spec: IEEE 802-2014, 8.2 "Universal addresses"."""
    address = bytearray(os.urandom(6))
    address[0] = address[0] & 0xFC | 0x02
    return bytes(address)


@dataclass(frozen=True)
class Adapter:
    """One network adapter, and what is at the other end of its cable.

    `network`: "user", "tap:INTERFACE" or "bridge:BRIDGE". The rest but `mac` (6 bytes) is for "user" only.
    """

    network: str = "user"
    mac: bytes = field(default_factory=random_mac)
    ports: tuple[Forward, ...] = ()
    policy: Policy | None = None
    limits: Limits | None = None


def parse_networks(names: str | Sequence[str]) -> tuple[str, ...]:
    """What a user wrote for the adapters, in order; "none" stands alone. Raises ConfigError."""
    networks = (names,) if isinstance(names, str) else tuple(names)
    if networks in ((), ("none",)):
        return ()
    for name in networks:
        kind, colon, place = name.partition(":")
        if not (name == "user" or (kind in ("tap", "bridge") and colon and place)):
            raise ConfigError(f"there is no network {name!r}", _KINDS)
    if networks.count("user") > 1:
        raise ConfigError("two adapters on the network user", "one has all that two would have")
    if len(networks) > ADAPTERS_MAX:
        raise ConfigError(f"{len(networks)} network adapters are too many", f"use up to {ADAPTERS_MAX}")
    return networks


def plan_adapters(
    names: str | Sequence[str],
    ports: Sequence[Forward | str] = (),
    policy: Policy | None = None,
    limits: Limits | None = None,
) -> tuple[Adapter, ...]:
    """The adapters that a user asked for. Raises ConfigError, also for ports that lead nowhere."""
    networks = parse_networks(names)
    if (ports or policy) and "user" not in networks:
        raise ConfigError("port forwards and rules are for the network user", "leave them out, or --net user")
    forwards: tuple[Forward, ...] = ()
    if ports:
        from innkeeper.network.forwards import Forward

        forwards = tuple(Forward.parse(port) if isinstance(port, str) else port for port in ports)
    return tuple(
        Adapter(name, ports=forwards, policy=policy, limits=limits) if name == "user" else Adapter(name)
        for name in networks
    )


class GuestNetwork:
    """The adapters of one boot of a VM. Made before the machine, closed before it, with its lock held.

    `on_refused` hears of connections that policy refused. What the host refuses (a port that is in use, an
    interface) is raised as HostError when the machine is made.
    """

    def __init__(
        self, adapters: Sequence[Adapter], on_refused: Callable[[Refusal], None] | None = None
    ) -> None:
        self._adapters = tuple(adapters)
        self._on_refused = on_refused
        self._backends: list[NetBackend] = []
        self._closers: list[Callable[[], None]] = []
        self.user: UserNet | None = None
        """The backend of the network user, once the machine is made."""

    def cards(self) -> list[NetCard]:
        """What is plugged into the board, in order: eth0 is the first."""
        return [NetCard(functools.partial(self._connect, adapter), adapter.mac) for adapter in self._adapters]

    def open_ports(self) -> None:
        """Open the host's ports, once the machine is made. Raises HostError, ConfigError."""
        for adapter in self._adapters:
            for forward in adapter.ports:
                if self.user is not None:
                    self.user.add_forward(forward)

    def kernel_words(self) -> str:
        """What the command line of a guest of ours has to say, so that it need not ask for its addresses."""
        words = []
        for number, adapter in enumerate(self._adapters):
            if adapter.network == "user":
                from innkeeper.network.subnet import Subnet, text_of

                subnet = Subnet()
                parts = (subnet.guest4, subnet.netmask4, subnet.gateway4, subnet.dns4)
                words.append(f"{_NET_WORD}=eth{number},{','.join(map(text_of, parts))}")
        return " ".join(words)

    def close(self) -> None:
        """Free what the backends hold of the host."""
        for close in self._closers:
            close()
        self._closers.clear()

    def _connect(self, adapter: Adapter, loop: IoLoop) -> NetBackend:
        kind, _, place = adapter.network.partition(":")
        if kind == "user":
            return self._connect_user(adapter, loop)
        from innkeeper.host.tap import Tap
        from innkeeper.network.tap import TapBackend
        from innkeeper.spec.virtio import NET_HEADER_BYTES

        tap = Tap(place if kind == "tap" else "", NET_HEADER_BYTES)
        if kind == "bridge":
            try:
                tap.bring_up(place)
            except BaseException:
                tap.close()
                raise
        backend = TapBackend(loop, tap)
        self._closers.append(backend.close)
        return backend

    def _connect_user(self, adapter: Adapter, loop: IoLoop) -> NetBackend:
        from innkeeper.network.nat import UserNet

        self.user = UserNet(
            loop,
            guest_mac=adapter.mac,
            policy=adapter.policy,
            limits=adapter.limits,
            on_refused=self._on_refused,
        )
        self._closers.append(self.user.close)
        return self.user
