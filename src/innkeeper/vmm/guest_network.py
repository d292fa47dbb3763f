# SPDX-License-Identifier: Apache-2.0
"""The network cards of a VM that a VMM process owns: what they are plugged into, also after a fork."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from innkeeper.api.vmm_protocol import VmmConfig
from innkeeper.devices.virtio.net import VirtioNet
from innkeeper.devices.virtio.net_backend import NullNet
from innkeeper.devices.virtio.net_frame import NetBackend
from innkeeper.devices.virtio.net_state import NetState
from innkeeper.errors import ConfigError, InnkeeperError
from innkeeper.machine.board import NetCard
from innkeeper.machine.clock import Clock
from innkeeper.machine.io_loop import IoLoop
from innkeeper.vmm.network import Adapter, GuestNetwork, parse_networks
from innkeeper.vmm.plugs import NetPlug
from innkeeper.vmm.readdress import NewAddress

if TYPE_CHECKING:
    from innkeeper.network.forwards import Forward
    from innkeeper.network.nat import UserNet
    from innkeeper.network.policy import Policy
    from innkeeper.network.refusals import Refusal


class GuestCards:
    """Made before the machine, closed before it with its lock held. Raises ConfigError for what cannot be.

    `on_refused` hears of connections that policy refused.
    """

    def __init__(self, config: VmmConfig, on_refused: Callable[[Refusal], None]) -> None:
        self._on_refused = on_refused
        self._adapters = _adapters(config)
        self._network = self._new_network(config)
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
        plugged = self._plugged_numbers()
        return re.sub(
            r"=eth(\d+),", lambda found: f"=eth{plugged[int(found[1])]},", self._network.kernel_words()
        )

    def become(self, config: VmmConfig, loop: IoLoop) -> None:
        """In a forked child: other backends; what was open to the world belongs to the parent."""
        self._network.close(forked=True)
        self._adapters = _adapters(config)
        self._network = self._new_network(config)
        cards = self._network.cards()
        for plug, adapter in zip(self._plugs, self._adapters, strict=False):
            connect = cards.pop(0).connect if adapter.network != "none" else _connect_nothing
            plug.plug_into(functools.partial(connect, loop), _is_needed_at_once(adapter))
        self._network.open_ports()

    def close(self) -> None:
        """Free what is open to the world."""
        self._network.close()

    def new_addresses(self) -> list[NewAddress]:
        """What a guest that is a copy does not have yet; the first card's MAC address the agent sets."""
        plugged = self._plugged_numbers()
        places = {plugged[index]: place for index, place in self._network.private_addresses().items()}
        result = []
        for number, adapter in enumerate(self._adapters):
            mac = adapter.mac.hex(":") if number else ""
            address, netmask = places.get(number, ("", ""))
            if mac or address:
                result.append(NewAddress(f"eth{number}", mac, address, netmask))
        return result

    def _plugged_numbers(self) -> list[int]:
        """The cards of the adapters that the network knows: it is not told of those on nothing."""
        return [number for number, adapter in enumerate(self._adapters) if adapter.network != "none"]

    # While it runs.

    def status(self, clock: Clock) -> dict[str, Any]:
        """The answer to `network`, a `NetworkStatus` of the API."""
        user = self._network.user
        behind_ns = clock.wall_ns() - clock.now_ns()
        refused = user.refusals if user is not None else ()
        return {
            "adapters": [
                _adapter_status(number, adapter, plug)
                for number, (adapter, plug) in enumerate(zip(self._adapters, self._plugs, strict=True))
            ],
            "ports": [str(forward) for forward in user.forwards] if user is not None else [],
            "refused": [asdict(refusal) | {"time_ns": refusal.time_ns + behind_ns} for refusal in refused],
            "refused_total": user.egress.refusals.total if user is not None else 0,
        }

    def change(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out `set_network`: all of it or nothing. Raises ConfigError, HostError.

        `egress`, `allow`, `deny`: the policy from now on; `add_ports`, `remove_ports`: forwards, of which
        `added` in the answer has those that were opened, with the numbers that the host gave.
        """
        from innkeeper.network.forwards import Forward
        from innkeeper.network.policy import Policy

        lists = [params.get(name, []) for name in ("allow", "deny", "add_ports", "remove_ports")]
        egress = params.get("egress", "allow")
        if not isinstance(egress, str) or not all(map(_is_texts, lists)):
            raise ConfigError("the change of a network makes no sense", "give lists of texts")
        allow, deny, add, remove = lists
        policy = Policy.parse(egress, allow, deny)
        added, removed = list(map(Forward.parse, add)), list(map(Forward.parse, remove))
        is_default = not (allow or deny or added or removed) and egress == "allow"
        user = self._user(is_default)
        if user is None:
            return {"added": []}
        removed = [_existing(user, forward) for forward in removed]
        opened: list[Forward] = []
        for forward in removed:
            user.remove_forward(forward)
        try:
            for forward in added:
                opened.append(user.add_forward(forward))
        except InnkeeperError:
            for forward in opened:
                user.remove_forward(forward)
            for forward in removed:
                user.add_forward(forward)
            raise
        if policy != user.policy:
            user.set_policy(policy)
        return {"added": [str(forward) for forward in opened]}

    def watched(self, name: str) -> list[tuple[str, NetPlug]]:
        """The cables of the adapter `name`, of all if it is empty. ConfigError if there is none."""
        named = [(f"eth{number}", plug) for number, plug in enumerate(self._plugs)]
        found = [pair for pair in named if name in ("", pair[0])]
        if not found:
            there = ", ".join(each for each, _ in named) or "none"
            raise ConfigError(f"the VM has no adapter {name or 'at all'}", f"it has: {there}")
        return found

    def _user(self, may_be_missing: bool) -> UserNet | None:
        """The network user, connected now if the guest has not used it yet."""
        for adapter, plug in zip(self._adapters, self._plugs, strict=True):
            if adapter.network == "user":
                plug.connected()
        if self._network.user is None and not may_be_missing:
            raise ConfigError("port forwards and rules are for the network user", "add an adapter on it")
        return self._network.user

    def _new_network(self, config: VmmConfig) -> GuestNetwork:
        plugged = [adapter for adapter in self._adapters if adapter.network != "none"]
        return GuestNetwork(plugged, self._on_refused, name=config.hostname or config.name)

    def _plugged(self, connect: Callable[[IoLoop], NetBackend], now: bool) -> Callable[[IoLoop], NetBackend]:
        def plugged(loop: IoLoop) -> NetBackend:
            plug = NetPlug(functools.partial(connect, loop), now)
            self._plugs.append(plug)
            return plug

        return plugged


def _adapter_status(number: int, adapter: Adapter, plug: NetPlug) -> dict[str, Any]:
    device = plug.device
    state = device.state if isinstance(device, VirtioNet) else NetState()
    return {
        "name": f"eth{number}",
        "network": adapter.network,
        "mac_address": adapter.mac.hex(":"),
        "sent_frames": state.sent_frames,
        "sent_bytes": state.sent_bytes,
        "received_frames": state.received_frames,
        "received_bytes": state.received_bytes,
        "dropped_frames": state.sent_dropped_frames + state.received_dropped_frames,
    }


def _existing(user: UserNet, wanted: Forward) -> Forward:
    """The open forward that `wanted` names; one whose number the host chose may be named with 0."""
    for forward in user.forwards:
        if forward == wanted or (not wanted.host_port and replace(forward, host_port=0) == wanted):
            return forward
    raise ConfigError(f"there is no port forward {wanted}", "inn port ls shows which there are")


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_needed_at_once(adapter: Adapter) -> bool:
    """The network user costs some of the start, and nobody can reach it before the guest has said something.

    Others may fail, which is told when the machine is made.
    """
    return adapter.network != "user" or bool(adapter.ports)


def _connect_nothing(loop: IoLoop) -> NetBackend:
    return NullNet()


def _adapters(config: VmmConfig) -> list[Adapter]:
    networks = list(config.networks) or ["user"]
    networks += ["none"] * (len(config.mac_addresses) - len(networks))
    parse_networks([name for name in networks if name != "none"])
    ports: tuple[Forward, ...] = ()
    policy: Policy | None = None
    if config.ports or config.allow or config.deny or config.egress != "allow":
        from innkeeper.network.forwards import Forward
        from innkeeper.network.policy import Policy

        ports = tuple(map(Forward.parse, config.ports))
        policy = Policy.parse(config.egress, config.allow, config.deny)
        if "user" not in networks[: len(config.mac_addresses)]:
            raise ConfigError(
                "port forwards and rules are for the network user", "leave them out, or use user"
            )
    return [
        Adapter(name, _mac(address), ports, policy) if name == "user" else Adapter(name, _mac(address))
        for name, address in zip(networks, config.mac_addresses, strict=False)
    ]


def _mac(address: str) -> bytes:
    return bytes.fromhex(address.replace(":", ""))
