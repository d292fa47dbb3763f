# SPDX-License-Identifier: Apache-2.0
"""`inn port`, `inn capture`, and what `inn info` says of a VM's network."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from innkeeper.api.port_forwards import Forward
from innkeeper.cli.failures import say
from innkeeper.cli.parts import Parts
from innkeeper.cli.sizes import format_size
from innkeeper.cli.tables import print_table, visible
from innkeeper.cli.vms import print_json
from innkeeper.errors import ConfigError, HostError

if TYPE_CHECKING:
    from innkeeper.client.sync import Vm

HEADINGS = ("HOST", "GUEST", "PROTOCOL")
REFUSED_SHOWN = 5
STANDARD = Path("-")


def network_settings(
    nets: Sequence[str], ports: Sequence[str], egress: str, allow: Sequence[str], deny: Sequence[str]
) -> dict[str, Any]:
    """What `launch` was asked for, as fields of `NetworkSettings`. Raises ConfigError for what cannot be."""
    check_policy(egress, allow, deny)
    adapters = [] if tuple(nets) == ("none",) else list(nets)
    if "none" in adapters:
        raise ConfigError("an adapter cannot be on the network none", "--net none stands alone")
    return {
        "adapters": adapters,
        "ports": [str(Forward.parse(port)) for port in ports],
        "egress": egress,
        "allow": list(allow),
        "deny": list(deny),
    }


def network_changes(
    nets: Sequence[str] | None,
    egress: str | None,
    allow: Sequence[str] | None,
    deny: Sequence[str] | None,
) -> dict[str, Any]:
    """What `set` was asked for, as fields of `NetworkUpdate`; an empty rule takes all of its kind away."""
    allow = None if allow is None else [rule for rule in allow if rule]
    deny = None if deny is None else [rule for rule in deny if rule]
    check_policy(egress, allow, deny)
    adapters = None if nets is None else [] if tuple(nets) == ("none",) else list(nets)
    given = {"adapters": adapters, "egress": egress, "allow": allow, "deny": deny}
    return {name: value for name, value in given.items() if value is not None}


def check_policy(egress: str | None, allow: Sequence[str] | None, deny: Sequence[str] | None) -> None:
    """ConfigError for rules that make no sense."""
    if allow or deny or egress not in (None, "allow"):
        from innkeeper.network.policy import Policy

        Policy.parse(egress or "allow", allow or (), deny or ())


def add_ports(parts: Parts, name: str, ports: Sequence[str], as_json: bool) -> int:
    """Lead ports of this host to a VM, and print them."""
    wanted = [str(Forward.parse(port)) for port in ports]
    with parts.connect() as client:
        vm = client.vm(name)
        before = set(_open_ports(vm))
        vm.update(network={"add_ports": wanted})
        added = [port for port in _open_ports(vm) if port not in before]
    if as_json:
        print_json([_row(port) for port in added])
        return 0
    for port in added:
        print(port)
    return 0


def remove_ports(parts: Parts, name: str, ports: Sequence[str]) -> int:
    """Lead ports of this host nowhere any more; each as it was added, or the host's number alone."""
    with parts.connect() as client:
        vm = client.vm(name)
        there = _open_ports(vm)
        vm.update(network={"remove_ports": [_named(port, there) for port in ports]})
        say(f"{vm.name} has {len(there) - len(ports)} ports")
    return 0


def list_ports(parts: Parts, name: str, as_json: bool) -> int:
    """Print the ports of a VM."""
    with parts.connect() as client:
        rows = [_row(port) for port in _open_ports(client.vm(name))]
    if as_json:
        print_json(rows)
    else:
        print_table(HEADINGS, [(row["host"], str(row["guest_port"]), row["protocol"]) for row in rows])
    return 0


def _row(port: str) -> dict[str, Any]:
    forward = Forward.parse(port)
    host = port.rpartition("/")[0].rpartition(":")[0]
    return {"host": host, "guest_port": forward.guest_port, "protocol": forward.protocol}


def _open_ports(vm: Vm) -> list[str]:
    """Those of a VM that runs have the numbers that the host gave."""
    return vm.network().ports if vm.state in ("running", "paused") else vm.info.network.ports


def _named(text: str, there: Sequence[str]) -> str:
    """The forward in `there` that `text` names: in full, without its guest port, or its host port alone."""
    if text.isdecimal():
        found = [port for port in there if Forward.parse(port).host_port == int(text)]
    else:
        wanted = Forward.parse(text)
        found = [port for port in there if Forward.parse(port) == wanted]
        found = found or [
            port
            for port in there
            if not wanted.host_port and replace(Forward.parse(port), host_port=0) == wanted
        ]
    if len(found) != 1:
        raise ConfigError(
            f"{text} names {'several ports' if found else 'no port'} of the VM", "see inn port ls"
        )
    return found[0]


def describe(vm: Vm) -> Iterator[tuple[str, str]]:
    """What `inn info` says: lines of a heading and a text."""
    settings = vm.info.network
    if vm.state not in ("running", "paused"):
        yield "network", " ".join(settings.adapters) or "none"
        if settings.ports:
            yield "ports", " ".join(settings.ports)
    else:
        status = vm.network()
        for adapter in status.adapters:
            sent, received = format_size(adapter.sent_bytes), format_size(adapter.received_bytes)
            dropped = f", {adapter.dropped_frames} frames dropped" if adapter.dropped_frames else ""
            where = f"{adapter.network} {adapter.mac_address}"
            yield adapter.name, f"{where}, sent {sent}, received {received}{dropped}"
        if status.ports:
            yield "ports", " ".join(status.ports)
        for refused in status.refused[-REFUSED_SHOWN:]:
            place = refused.names[0] if refused.names else refused.address
            port = f":{refused.port}" if refused.port else ""
            yield "refused", visible(f"{refused.protocol} {place}{port}: {refused.reason}")
        if status.refused_total > REFUSED_SHOWN:
            yield "refused", f"{status.refused_total} connections in all"
    if settings.egress != "allow":
        yield "egress", settings.egress
    for heading, rules in (("allow", settings.allow), ("deny", settings.deny)):
        if rules:
            yield heading, " ".join(rules)


def as_data(vm: Vm) -> dict[str, Any]:
    """What `inn info --json` prints."""
    data = asdict(vm.info)
    running = vm.state in ("running", "paused")
    return data | {"network_status": asdict(vm.network()) if running else None}


def capture(parts: Parts, name: str, path: Path, adapter: str) -> int:
    """Write frames of a VM into a pcapng file until Ctrl-C, or until the VM ends."""
    with parts.connect() as client, client.vm(name).capture(adapter) as stream:
        messages = stream.outputs()
        # What is wrong is told before a file is made.
        head = next(messages, None)
        if head is None:
            raise HostError("the capture was cut off", f"see inn logs {name}")
        with _opened(path) as file:
            file.write(head.data)
            file.flush()
            if sys.stderr.isatty():
                say("Ctrl-C ends the capture")
            size_bytes = len(head.data)
            try:
                for output in messages:
                    file.write(output.data)
                    file.flush()
                    size_bytes += len(output.data)
            except KeyboardInterrupt:
                pass
    if path != STANDARD:
        say(f"{format_size(size_bytes)} are in {path}")
    return 0


def _opened(path: Path) -> BinaryIO:
    if path == STANDARD:
        return os.fdopen(os.dup(1), "wb")
    try:
        # What guests say to each other is for nobody else to read.
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}", "choose another file") from error
