# SPDX-License-Identifier: Apache-2.0
"""The network cards of a VM that a VMM process owns: what they are plugged into, also after a fork."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from innkeeper.api.vmm_protocol import VmmConfig
from innkeeper.devices.virtio.net_backend import NullNet
from innkeeper.devices.virtio.net_frame import NetBackend
from innkeeper.errors import ConfigError
from innkeeper.machine.board import NetCard
from innkeeper.machine.io_loop import IoLoop
from innkeeper.vmm.network import Adapter, GuestNetwork, parse_networks
from innkeeper.vmm.plugs import NetPlug

if TYPE_CHECKING:
    from innkeeper.network.forwards import Forward


class GuestCards:
    """Made before the machine, closed before it with its lock held. Raises ConfigError for what cannot be."""

    def __init__(self, config: VmmConfig) -> None:
        self._adapters = _adapters(config)
        self._network = _network(self._adapters, config)
        self._plugs: list[NetPlug] = []

    def cards(self) -> list[NetCard]:
        """What is plugged into the board, in order."""
        cards = self._network.cards()
        result = []
        for adapter in self._adapters:
            connect = cards.pop(0).connect if adapter.network != "none" else _connect_nothing
            result.append(NetCard(self._plugged(connect, _is_needed_at_once(adapter)), adapter.mac))
        return result

    def open_ports(self) -> None:
        """Open the host's ports, once the machine is made. HostError if they are in use."""
        self._network.open_ports()

    def kernel_words(self) -> str:
        """What the kernel's command line says of the addresses."""
        return self._network.kernel_words()

    def become(self, config: VmmConfig, loop: IoLoop) -> None:
        """In a forked child: other backends; what was open to the world belongs to the parent."""
        self._network.close()
        self._adapters = _adapters(config)
        self._network = _network(self._adapters, config)
        cards = self._network.cards()
        for plug, adapter in zip(self._plugs, self._adapters, strict=False):
            connect = cards.pop(0).connect if adapter.network != "none" else _connect_nothing
            plug.plug_into(functools.partial(connect, loop), _is_needed_at_once(adapter))
        self._network.open_ports()

    def close(self) -> None:
        """Free what is open to the world."""
        self._network.close()

    def _plugged(self, connect: Callable[[IoLoop], NetBackend], now: bool) -> Callable[[IoLoop], NetBackend]:
        def plugged(loop: IoLoop) -> NetBackend:
            plug = NetPlug(functools.partial(connect, loop), now)
            self._plugs.append(plug)
            return plug

        return plugged


def _is_needed_at_once(adapter: Adapter) -> bool:
    """The network user costs some of the start, and nobody can reach it before the guest has said something.

    Others may fail, which is told when the machine is made.
    """
    return adapter.network != "user" or bool(adapter.ports)


def _connect_nothing(loop: IoLoop) -> NetBackend:
    return NullNet()


def _network(adapters: list[Adapter], config: VmmConfig) -> GuestNetwork:
    plugged = [adapter for adapter in adapters if adapter.network != "none"]
    return GuestNetwork(plugged, name=config.hostname or config.name)


def _adapters(config: VmmConfig) -> list[Adapter]:
    networks = list(config.networks) or ["user"]
    networks += ["none"] * (len(config.mac_addresses) - len(networks))
    parse_networks([name for name in networks if name != "none"])
    ports: tuple[Forward, ...] = ()
    if config.ports:
        from innkeeper.network.forwards import Forward

        ports = tuple(map(Forward.parse, config.ports))
        if "user" not in networks[: len(config.mac_addresses)]:
            raise ConfigError("port forwards are for the network user", "leave them out, or use user")
    return [
        Adapter(name, _mac(address), ports if name == "user" else ())
        for name, address in zip(networks, config.mac_addresses, strict=False)
    ]


def _mac(address: str) -> bytes:
    return bytes.fromhex(address.replace(":", ""))
