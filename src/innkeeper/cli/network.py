# SPDX-License-Identifier: Apache-2.0
"""`inn network`: the private networks of this user."""

from __future__ import annotations

import json
from collections.abc import Sequence

from innkeeper.cli.failures import say
from innkeeper.host.private_networks import PrivateNetwork, PrivateNetworks

HEADINGS = ("NETWORK", "RANGE", "VMS")


def list_networks(as_json: bool) -> int:
    """Print them, as a table or as JSON: `[{name, subnet, addresses}]`."""
    networks = _networks().list()
    if as_json:
        print(json.dumps([_row(network) for network in networks], indent=2))
        return 0
    cells = [HEADINGS, *((n.name, str(n.subnet), str(len(n.members))) for n in networks)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def create_network(name: str, subnet: str | None) -> int:
    """Make a network."""
    network = _networks().create(name, subnet)
    say(f"the network {name} has the range {network.subnet} (inn run --net {name})")
    return 0


def remove_networks(names: Sequence[str]) -> int:
    """Remove networks, in the order given."""
    for name in names:
        _networks().remove(name)
        say(f"the network {name} is gone")
    return 0


def show_network(name: str, as_json: bool) -> int:
    """Print one network."""
    row = _row(_networks().get(name))
    if as_json:
        print(json.dumps(row, indent=2))
        return 0
    for key, value in row.items():
        print(f"{key}: {' '.join(value) if isinstance(value, list) else value}")
    return 0


def _networks() -> PrivateNetworks:
    from innkeeper.vmm.network import private_networks

    return private_networks()


def _row(network: PrivateNetwork) -> dict[str, object]:
    addresses = [str(network.subnet[number]) for number in network.members]
    return {"name": network.name, "subnet": str(network.subnet), "addresses": addresses}
