# SPDX-License-Identifier: Apache-2.0
"""The commands of VMs' networks and files; what they do: `vm_network`, `copy` and `shell`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innkeeper.cli.call import Action, Json
from innkeeper.cli.commands_vms import VmName
from innkeeper.errors import ConfigError

port_app = typer.Typer(rich_markup_mode=None, add_completion=False)
Forwards = Annotated[
    list[str], typer.Argument(metavar="[ADDR:]PORT:GUEST_PORT[/udp]...", help="PORT 0: any that is free.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `inn`."""
    app.add_typer(port_app, name="port", help="Lead ports of this host to a VM.", no_args_is_help=True)
    app.command("capture")(_capture)
    app.command("cp")(_cp)
    app.command("shell")(_shell)
    app.command("ssh", epilog="After -- stands a command, or what else ssh takes: inn ssh web -- uname")(_ssh)


@port_app.command("add")
def _port_add(context: typer.Context, vm: VmName, forward: Forwards, as_json: Json = False) -> Action:
    """Lead ports of this host to a VM, which may run; of its loopback unless ADDR says otherwise.

    Prints them.
    """
    from innkeeper.cli import vm_network

    return lambda: vm_network.add_ports(context.obj.parts, vm, forward, as_json)


@port_app.command("rm")
def _port_rm(
    context: typer.Context,
    vm: VmName,
    forward: Annotated[
        list[str], typer.Argument(metavar="PORT...", help="The host's number, or all of it as ls prints it.")
    ],
) -> Action:
    """Take ports from a VM. Connections that are open go on."""
    from innkeeper.cli import vm_network

    return lambda: vm_network.remove_ports(context.obj.parts, vm, forward)


@port_app.command("ls")
def _port_ls(context: typer.Context, vm: VmName, as_json: Json = False) -> Action:
    """List the ports that lead to a VM."""
    from innkeeper.cli import vm_network

    return lambda: vm_network.list_ports(context.obj.parts, vm, as_json)


def _capture(
    context: typer.Context,
    vm: VmName,
    write: Annotated[
        Path, typer.Option("--write", "-w", metavar="FILE", help="A pcapng file; - is standard output.")
    ],
    adapter: Annotated[str, typer.Option(metavar="NAME", help="One adapter, as in eth0; default: all.")] = "",
) -> Action:
    """Write the frames of a running VM's network adapters into a file, until Ctrl-C."""
    from innkeeper.cli import vm_network

    return lambda: vm_network.capture(context.obj.parts, vm, write, adapter)


def _cp(
    context: typer.Context,
    paths: Annotated[
        list[str], typer.Argument(metavar="SOURCE... TARGET", help="FILE here, or VM:PATH in a guest.")
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Folders, with all that is in them.")
    ] = False,
    as_json: Json = False,
) -> Action:
    """Copy files into a running guest, or out of it, with their permissions and times."""
    from innkeeper.cli import copy

    if len(paths) < 2:
        raise ConfigError("a copy needs a source and a target", "as in inn cp FILE VM:PATH")
    job = copy.parse(paths[:-1], paths[-1])
    return lambda: copy.copy(context.obj.parts, job, recursive, as_json)


def _shell(
    context: typer.Context,
    vm: VmName,
    user: Annotated[str, typer.Option("--user", "-u", metavar="USER", help="Default: root.")] = "",
) -> Action:
    """Log in to a running guest, with this terminal."""
    from innkeeper.cli import shell

    return lambda: shell.shell(context.obj.parts, vm, user)


def _ssh(
    context: typer.Context,
    vm: VmName,
    user: Annotated[str, typer.Option("--user", "-u", metavar="USER", help="Default: root.")] = "root",
) -> Action:
    """Run this host's ssh to a guest that has sshd. Keys are made and put in place; no port is needed."""
    from innkeeper.cli import shell

    return lambda: shell.ssh(context.obj.parts, vm, user, context.obj.command or [])
