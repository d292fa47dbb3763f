# SPDX-License-Identifier: Apache-2.0
"""The network adapters of one VM: from what the user asked for to the board's cards and their backends."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from innkeeper.api.places import Places
from innkeeper.devices.virtio.net_frame import NetBackend
from innkeeper.errors import ConfigError
from innkeeper.machine.board import NetCard
from innkeeper.machine.io_loop import IoLoop

if TYPE_CHECKING:
    from innkeeper.host.private_networks import Membership, PrivateNetworks
    from innkeeper.network.capture import CaptureFile
    from innkeeper.network.forwards import Forward
    from innkeeper.network.limits import Limits
    from innkeeper.network.nat import UserNet
    from innkeeper.network.policy import Policy
    from innkeeper.network.refusals import Refusal
    from innkeeper.network.subnet import Subnet
    from innkeeper.network.switch import Switch

ADAPTERS_MAX = 4
_KINDS = "write none, user, the name of a network (inn network ls), tap:INTERFACE or bridge:BRIDGE"
_NET_WORD = "innkeeper.net"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def random_mac() -> bytes:
    """A unicast, locally administered address. Spec: IEEE 802-2014, 8.2 "Universal addresses"."""
    address = bytearray(os.urandom(6))
    address[0] = address[0] & 0xFC | 0x02
    return bytes(address)


@dataclass(frozen=True)
class Adapter:
    """One network adapter, and what is at the other end of its cable.

    `network`: "user", the name of a private network, "tap:INTERFACE" or "bridge:BRIDGE". The rest but `mac`
    (6 bytes) is for "user" only.
    """

    network: str = "user"
    mac: bytes = field(default_factory=random_mac)
    ports: tuple[Forward, ...] = ()
    policy: Policy | None = None
    limits: Limits | None = None


def checked_name(name: str) -> str:
    """`name` as other VMs may know a VM by; ConfigError for one that is no label of a host's name.

    Spec: RFC 1123 2.1 "Host Names and Numbers".
    """
    if name and not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot be a VM's name", "use lower case letters, digits and -")
    return name


def parse_networks(names: str | Sequence[str]) -> tuple[str, ...]:
    """What a user wrote for the adapters, in order; "none" stands alone. Raises ConfigError."""
    networks = (names,) if isinstance(names, str) else tuple(names)
    if networks in ((), ("none",)):
        return ()
    for name in networks:
        kind, colon, place = name.partition(":")
        if kind in ("tap", "bridge") and colon and place:
            continue
        if name in ("", "none") or colon:
            raise ConfigError(f"there is no network {name!r}", _KINDS)
        if networks.count(name) > 1:
            raise ConfigError(f"two adapters on the network {name}", "one has all that two would have")
        if name != "user":
            private_networks().get(name)
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


def private_networks() -> PrivateNetworks:
    """Those of this user."""
    from innkeeper.host.private_networks import PrivateNetworks

    places = Places.of(os.environ, os.geteuid())
    return PrivateNetworks(places.networks, places.network_sockets)


class GuestNetwork:
    """The adapters of one boot of a VM. Made before the machine, closed before it, with its lock held.

    It joins the private networks when it is made: only then the guest's addresses there are known. Other VMs
    find this one by `name` (lower case letters, digits and -), if it has one. `on_refused` hears of
    connections that policy refused. All frames are written to the file `capture`, if it is given. What the
    host refuses (a port in use, an interface) is raised as HostError, here or when the machine is made.
    """

    def __init__(
        self,
        adapters: Sequence[Adapter],
        on_refused: Callable[[Refusal], None] | None = None,
        *,
        name: str = "",
        capture: Path | None = None,
    ) -> None:
        self._adapters = tuple(adapters)
        self._capture_path = capture
        self._capture: CaptureFile | None = None
        self.on_refused = on_refused
        self.on_warning: Callable[[str], None] = lambda message: None
        """Hears of a capture that ends before the machine does."""
        self._name = name
        self._closers: list[Callable[[], None]] = []
        self._names: dict[str, tuple[bytes, ...]] = {}
        """Of other VMs, on all of this one's networks."""
        self._switches: list[Switch] = []
        self._members: dict[int, Membership] = {}
        try:
            for number, adapter in enumerate(self._adapters):
                if _is_private(adapter.network):
                    member = self._members[number] = private_networks().join(adapter.network)
                    # Closed with the switch that will own them; twice does no harm.
                    self._closers += [taken.close for taken in (member.listening, *member.peers)]
        except BaseException:
            self.close()
            raise
        self.user: UserNet | None = None
        """The backend of the network user, once the machine is made."""

    def cards(self) -> list[NetCard]:
        """What is plugged into the board, in order: eth0 is the first."""
        return [
            NetCard(functools.partial(self._connect_captured, number, adapter), adapter.mac)
            for number, adapter in enumerate(self._adapters)
        ]

    def open_ports(self) -> None:
        """Open the host's ports, once the machine is made. Raises HostError, ConfigError."""
        for adapter in self._adapters:
            for forward in adapter.ports:
                if self.user is not None:
                    self.user.add_forward(forward)

    @property
    def is_needed_at_once(self) -> bool:
        """Whether it has to be there before the guest has said something: others may come first."""
        return self._capture_path is not None or any(
            adapter.network != "user" or adapter.ports for adapter in self._adapters
        )

    def kernel_words(self) -> str:
        """What the command line of a guest of ours has to say, so that it need not ask for its addresses."""
        words = []
        has_user = any(adapter.network == "user" for adapter in self._adapters)
        for number, adapter in enumerate(self._adapters):
            if adapter.network != "user" and number not in self._members:
                continue
            from innkeeper.network.subnet import text_of

            subnet = self._subnet(number)
            parts = [text_of(subnet.guest4), text_of(subnet.netmask4)]
            parts.append(text_of(subnet.gateway4) if subnet.leads_out else "")
            # Each server knows the names of all networks, and a guest asks the first one only.
            is_asked = adapter.network == "user" or (not has_user and number == min(self._members))
            parts.append(text_of(subnet.dns4) if is_asked else "")
            words.append(f"{_NET_WORD}=eth{number},{','.join(parts)}")
        return " ".join(words)

    def private_addresses(self) -> dict[int, tuple[str, str]]:
        """Address and netmask of each adapter that is on a private network, by its number."""
        return {n: (str(m.address), str(m.network.subnet.netmask)) for n, m in self._members.items()}

    def close(self, *, forked: bool = False) -> None:
        """Free what it holds of the host; in a `forked` child the places are the parent's."""
        for member in () if forked else self._members.values():
            member.leave()
        for close in reversed(self._closers):
            close()
        self._closers.clear()
        self._switches.clear()

    def _subnet(self, number: int) -> Subnet:
        """What the guest is told of its addresses at adapter `number`."""
        from innkeeper.network.subnet import Subnet

        member = self._members.get(number)
        if member is None:
            return Subnet()
        from innkeeper.network.private import subnet_of

        return subnet_of(member.network.subnet, member.address)

    def _connect_captured(self, number: int, adapter: Adapter, loop: IoLoop) -> NetBackend:
        """The backend, by way of the capture if there is one."""
        if self._capture_path is None:
            return self._connect(number, adapter, loop)
        from innkeeper.network.capture import CapturedNet, CaptureFile

        if self._capture is None:
            clock = loop.clock
            self._capture = CaptureFile(self._capture_path, clock, lambda message: self.on_warning(message))
            self._closers.insert(0, self._capture.close)
        return CapturedNet(self._connect(number, adapter, loop), self._capture, f"eth{number}")

    def _connect(self, number: int, adapter: Adapter, loop: IoLoop) -> NetBackend:
        kind, _, place = adapter.network.partition(":")
        if kind == "user":
            return self._connect_user(adapter, loop)
        if number in self._members:
            return self._connect_private(number, adapter, loop)
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
            siblings=self._names,
            on_refused=lambda refusal: self.on_refused(refusal) if self.on_refused else None,
        )
        self._closers.append(self.user.close)
        return self.user

    def _connect_private(self, number: int, adapter: Adapter, loop: IoLoop) -> NetBackend:
        from innkeeper.network.ethernet import GATEWAY_MAC
        from innkeeper.network.private import PrivateNet
        from innkeeper.network.switch import Switch
        from innkeeper.network.switch_peer import Greeting

        member = self._members[number]
        switch = Switch(
            loop,
            Greeting(self._name, member.address.packed),
            member.listening,
            member.peers,
            own_macs=[GATEWAY_MAC],
            on_members=self._collect_names,
        )
        self._switches.append(switch)
        subnet = self._subnet(number)
        net = PrivateNet(loop, subnet, switch, self._names, guest_mac=adapter.mac, host_name=self._name)
        self._closers.append(net.close)
        return net

    def _collect_names(self) -> None:
        """The first who has a name keeps it for as long as it is there."""
        self._names.clear()
        for switch in self._switches:
            for member in switch.members:
                if member.name:
                    self._names.setdefault(member.name, (member.address,))


def _is_private(network: str) -> bool:
    return network != "user" and ":" not in network
