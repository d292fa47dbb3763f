# SPDX-License-Identifier: Apache-2.0
"""The networks of VMs: what is kept of them, and changes of those that run. Frames are the VMM's alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from innkeeper.api import models
from innkeeper.api.decode import decode
from innkeeper.api.port_forwards import Forward
from innkeeper.api.problems import ConflictError
from innkeeper.errors import ConfigError
from innkeeper.hypervisor.vm import Vm

PORTS_MAX = 256


def checked(network: models.NetworkSettings) -> models.NetworkSettings:
    """`network` with its ports in full. ConfigError for what no VMM would take."""
    ports = [str(Forward.parse(port)) for port in network.ports]
    if (ports or network.allow or network.deny or network.egress != "allow") and (
        "user" not in network.adapters
    ):
        raise ConfigError("port forwards and rules are for the network user", "add an adapter on it")
    connected = [name for name in network.adapters if name != "none"]
    if len(set(connected)) != len(connected):
        raise ConfigError("two adapters are on one network", "one has all that two would have")
    fixed = [port for port in ports if Forward.parse(port).host_port]
    if len(set(fixed)) != len(fixed):
        raise ConfigError("a port forward is given twice", "leave one out")
    return replace(network, ports=ports)


def of_copy(network: models.NetworkSettings) -> models.NetworkSettings:
    """For a copy of a VM: a port of the host leads to one guest only, so fixed ones stay with the origin."""
    return replace(network, ports=[port for port in network.ports if Forward.parse(port).host_port == 0])


def of_import(network: models.NetworkSettings) -> models.NetworkSettings:
    """For a VM from elsewhere: as many adapters, and nothing of the host that its file would open."""
    adapters = [name if name == "user" else "none" for name in network.adapters]
    return models.NetworkSettings(adapters=adapters)


async def change(vm: Vm, update: models.NetworkUpdate) -> models.NetworkSettings:
    """What `vm`, whose lock is held, has after `update`, which a running one has by then."""
    now = vm.record.settings.network
    if update.adapters is not None and update.adapters != now.adapters and vm.is_active:
        raise ConflictError(f"{vm.record.name} is {vm.state}", "stop it to change its adapters")
    added = [str(Forward.parse(port)) for port in update.add_ports]
    removed = [str(Forward.parse(port)) for port in update.remove_ports]
    names = ("adapters", "egress", "allow", "deny")
    given = {name: value for name in names if (value := getattr(update, name)) is not None}
    changed = checked(replace(now, **given, ports=[*_without(now.ports, removed), *added]))
    if len(changed.ports) > PORTS_MAX:
        raise ConfigError(f"{len(changed.ports)} port forwards are too many", f"use up to {PORTS_MAX}")
    if not vm.is_active:
        return changed
    params = {
        "egress": changed.egress,
        "allow": changed.allow,
        "deny": changed.deny,
        "add_ports": added,
        "remove_ports": removed,
    }
    answer = await vm.call("set_network", params)
    got = answer.get("added")
    if isinstance(got, list) and len(got) == len(added) and all(isinstance(port, str) for port in got):
        # Ports that the host chose stay what they are.
        return replace(changed, ports=[*changed.ports[: len(changed.ports) - len(added)], *got])
    return changed


def _without(ports: Sequence[str], removed: Sequence[str]) -> list[str]:
    """`ports` but for `removed`, each of which may be one whose number the host has chosen."""
    left = list(ports)
    for text in removed:
        free = str(replace(Forward.parse(text), host_port=0))
        if text in left:
            left.remove(text)
        elif free in left:
            left.remove(free)
        else:
            raise ConfigError(f"there is no port forward {text}", "inn port ls shows which there are")
    return left


async def status(vm: Vm) -> models.NetworkStatus:
    """The network of a running VM. ConflictError if it does not run."""
    return decode(models.NetworkStatus, await vm.call("network"))
