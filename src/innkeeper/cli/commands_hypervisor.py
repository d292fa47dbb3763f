# SPDX-License-Identifier: Apache-2.0
"""The commands of the hypervisor itself, its snapshots and events, and their arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innkeeper.cli.call import Action, Json
from innkeeper.cli.commands_vms import Labels, NewName, VmName
from innkeeper.errors import ConfigError

hypervisor_app = typer.Typer(rich_markup_mode=None, add_completion=False)
snapshots_app = typer.Typer(rich_markup_mode=None, add_completion=False)


def _complete_snapshots(incomplete: str) -> list[str]:
    try:
        from innkeeper import client

        with client.connect(start=False) as connection:
            found = connection.snapshots()
    except Exception:
        return []
    return [snapshot.name for snapshot in found if snapshot.name.startswith(incomplete)]


SnapshotName = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="Its name or id.", autocompletion=_complete_snapshots)
]


def register(app: typer.Typer) -> None:
    """Add the commands to `inn`."""
    app.command("snapshot")(_snapshot)
    app.add_typer(snapshots_app, name="snapshots", help="List and remove snapshots.")
    app.command("restore")(_restore)
    app.command("export")(_export)
    app.command("import")(_import)
    app.command("events")(_events)
    app.add_typer(hypervisor_app, name="hypervisor", help="Run, show and stop the hypervisor.")


def _snapshot(context: typer.Context, vm: VmName, name: NewName = None, as_json: Json = False) -> Action:
    """Take a snapshot of a running VM, which goes on meanwhile.

    Prints the snapshot's name.
    """
    from innkeeper.cli import snapshots

    return lambda: snapshots.take(context.obj.parts, vm, name, as_json)


@snapshots_app.callback(invoke_without_command=True)
def _snapshots(context: typer.Context, as_json: Json = False) -> Action | None:
    """List and remove snapshots. Alone it lists them."""
    from innkeeper.cli import snapshots

    if context.invoked_subcommand is None:
        return lambda: snapshots.list_snapshots(context.obj.parts, None, as_json)
    if as_json:
        raise ConfigError("--json stands after the command", "inn snapshots ls --json")
    return None


@snapshots_app.command("ls")
def _snapshots_ls(
    context: typer.Context,
    vm: Annotated[str | None, typer.Argument(metavar="VM", help="Only those of this VM.")] = None,
    as_json: Json = False,
) -> Action:
    """List snapshots."""
    from innkeeper.cli import snapshots

    return lambda: snapshots.list_snapshots(context.obj.parts, vm, as_json)


@snapshots_app.command("rm")
def _snapshots_rm(
    context: typer.Context,
    snapshot: Annotated[
        list[str],
        typer.Argument(metavar="SNAPSHOT...", help="Names or ids.", autocompletion=_complete_snapshots),
    ],
) -> Action:
    """Remove snapshots."""
    from innkeeper.cli import snapshots

    return lambda: snapshots.remove(context.obj.parts, snapshot)


def _restore(
    context: typer.Context,
    snapshot: SnapshotName,
    name: NewName = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Put the VM that it is of back, instead of making a new one.")
    ] = False,
    label: Labels = None,
    as_json: Json = False,
) -> Action:
    """Go on from a snapshot, as a new VM with an identity of its own.

    Prints the VM's name.
    """
    from innkeeper.cli import snapshots, vms

    if in_place and (name is not None or label):
        raise ConfigError("a VM that is put back keeps its name and labels", "leave out --name and --label")
    labels = None if label is None else vms.parse_labels(label)
    return lambda: snapshots.restore(context.obj.parts, snapshot, name, in_place, labels, as_json)


def _export(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A stopped VM, or a snapshot.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; - is standard output.")],
) -> Action:
    """Write a stopped VM or a snapshot to one file, for another host."""
    from innkeeper.cli import transfer

    return lambda: transfer.export(context.obj.parts, name, file)


def _import(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What inn export wrote; - is standard input.")],
    name: NewName = None,
) -> Action:
    """Make a VM or a snapshot of what inn export wrote.

    Prints its name.
    """
    from innkeeper.cli import transfer

    return lambda: transfer.import_file(context.obj.parts, file, name)


def _events(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens.")] = False,
    after: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Only events with a greater number.")
    ] = None,
    as_json: Json = False,
) -> Action:
    """Print what happened to VMs; with --json one object a line."""
    from innkeeper.cli import vms

    if after is not None and not (after.isascii() and after.isdigit() and len(after) < 18):
        raise ConfigError(f"'{after}' is not the number of an event", "inn events shows them")
    number = None if after is None else int(after)
    return lambda: vms.events(context.obj.parts, number, follow, as_json)


@hypervisor_app.command("run")
def _hypervisor_run(
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve TCP, too, with TLS and a token.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate of the TCP port, PEM.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key, PEM.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The token that clients on TCP have to send.")
    ] = None,
) -> Action:
    """Run the hypervisor here, until Ctrl-C. Other commands start it when they need it."""
    from innkeeper.cli import hypervisor

    return lambda: hypervisor.run(listen, certificate, key, token_file)


@hypervisor_app.command("status")
def _hypervisor_status(as_json: Json = False) -> Action:
    """Say whether the hypervisor runs; status 2 if it does not."""
    from innkeeper.cli import hypervisor

    return lambda: hypervisor.status(as_json)


@hypervisor_app.command("stop")
def _hypervisor_stop(
    vms: Annotated[bool, typer.Option("--vms", help="Stop all VMs first.")] = False,
) -> Action:
    """End the hypervisor. VMs run on; the next command starts another, which adopts them."""
    from innkeeper.cli import hypervisor

    return lambda: hypervisor.stop(vms)


@hypervisor_app.command("unit")
def _hypervisor_unit() -> Action:
    """Print a unit for systemd --user that runs the hypervisor."""
    from innkeeper.cli import hypervisor

    return hypervisor.print_unit
