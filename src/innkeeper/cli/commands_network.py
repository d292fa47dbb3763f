# SPDX-License-Identifier: Apache-2.0
"""The commands of private networks and their arguments."""

from __future__ import annotations

from typing import Annotated

import typer

from innkeeper.cli.call import Action, Json

network_app = typer.Typer(rich_markup_mode=None, add_completion=False)

NetworkName = Annotated[str, typer.Argument(metavar="NETWORK", help="Its name.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `inn`."""
    app.add_typer(network_app, name="network", help="Create, list and remove private networks between VMs.")


@network_app.callback(invoke_without_command=True)
def _network(context: typer.Context, as_json: Json = False) -> Action | None:
    """Create, list and remove private networks between VMs. Alone it lists them."""
    from innkeeper.cli import network

    if context.invoked_subcommand is None:
        return lambda: network.list_networks(as_json)
    return None


@network_app.command("ls")
def _ls(context: typer.Context, as_json: Json = False) -> Action:
    """List the networks, their ranges and how many VMs are on them."""
    from innkeeper.cli import network

    return lambda: network.list_networks(as_json)


@network_app.command("create")
def _create(
    context: typer.Context,
    name: NetworkName,
    subnet: Annotated[
        str | None, typer.Option(metavar="CIDR", help="Its range of 256 addresses, as in 10.89.0.0/24.")
    ] = None,
) -> Action:
    """Make a network, for inn run --net NETWORK."""
    from innkeeper.cli import network

    return lambda: network.create_network(name, subnet)


@network_app.command("rm")
def _rm(
    context: typer.Context, name: Annotated[list[str], typer.Argument(metavar="NETWORK", help="Its name.")]
) -> Action:
    """Remove networks on which no VM is."""
    from innkeeper.cli import network

    return lambda: network.remove_networks(name)


@network_app.command("info")
def _info(context: typer.Context, name: NetworkName, as_json: Json = False) -> Action:
    """Show a network and the addresses that are taken."""
    from innkeeper.cli import network

    return lambda: network.show_network(name, as_json)
