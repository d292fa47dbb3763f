# SPDX-License-Identifier: Apache-2.0
"""The commands of VMs that the hypervisor keeps, and their arguments; what they do: `innkeeper.cli.vms`."""

from __future__ import annotations

from typing import Annotated, Any, cast, get_args

import typer

from innkeeper.cli.call import Action, Json
from innkeeper.cli.network_options import Net
from innkeeper.errors import ConfigError


def _complete_vms(incomplete: str) -> list[str]:
    """Names of VMs, if the hypervisor runs; nothing at all if anything is wrong."""
    try:
        from innkeeper import client

        with client.connect(start=False) as connection:
            return [vm.name for vm in connection.vms() if vm.name.startswith(incomplete)]
    except Exception:
        return []


VmName = Annotated[str, typer.Argument(metavar="VM", help="Its name or id.", autocompletion=_complete_vms)]
VmNames = Annotated[
    list[str], typer.Argument(metavar="VM...", help="Names or ids.", autocompletion=_complete_vms)
]
NewName = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Default: one is made up.")]
Labels = Annotated[
    list[str] | None, typer.Option("--label", "-l", metavar="NAME=VALUE", help="May be repeated.")
]
Timeout = Annotated[str, typer.Option(metavar="SECONDS", help="How long to wait.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `inn`."""
    for name, command in (
        ("ls", _ls), ("info", _info), ("start", _start), ("stop", _stop),
        ("pause", _pause), ("resume", _resume), ("restart", _restart), ("rm", _rm), ("fork", _fork),
        ("clone", _clone), ("set", _set), ("wait", _wait),
    ):  # fmt: skip
        app.command(name)(command)


def _ls(
    context: typer.Context,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="NAME[=VALUE]", help="Only VMs with this. May be repeated."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Names only.")] = False,
    as_json: Json = False,
) -> Action:
    """List the VMs."""
    from innkeeper.cli import vms

    return lambda: vms.list_vms(context.obj.parts, label or (), as_json, quiet)


def _info(context: typer.Context, vm: VmName, as_json: Json = False) -> Action:
    """Say all there is to say of a VM."""
    from innkeeper.cli import vms

    return lambda: vms.show(context.obj.parts, vm, as_json)


def _start(
    context: typer.Context,
    vm: VmNames,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until its guest answers.")] = False,
) -> Action:
    """Start VMs."""
    from innkeeper.cli import vms

    return lambda: vms.start(context.obj.parts, vm, not no_wait)


def _stop(
    context: typer.Context,
    vm: VmNames,
    force: Annotated[bool, typer.Option("--force", "-f", help="As by pulling the plug.")] = False,
    timeout: Timeout = "30",
) -> Action:
    """Ask guests to power off; end them after a time."""
    from innkeeper.cli import vms
    from innkeeper.cli.sizes import parse_timeout_s

    timeout_s = parse_timeout_s(timeout)
    return lambda: vms.each(
        context.obj.parts, vm, "is stopped", lambda each: each.stop(force=force, timeout_s=timeout_s)
    )


def _restart(
    context: typer.Context,
    vm: VmNames,
    force: Annotated[bool, typer.Option("--force", "-f", help="As by pulling the plug.")] = False,
    timeout: Timeout = "30",
) -> Action:
    """Stop VMs and start them again."""
    from innkeeper.cli import vms
    from innkeeper.cli.sizes import parse_timeout_s

    timeout_s = parse_timeout_s(timeout)
    return lambda: vms.each(
        context.obj.parts, vm, "runs again", lambda each: each.restart(force=force, timeout_s=timeout_s)
    )


def _pause(context: typer.Context, vm: VmNames) -> Action:
    """Let VMs stand still."""
    from innkeeper.cli import vms

    return lambda: vms.each(context.obj.parts, vm, "is paused", lambda each: each.pause())


def _resume(context: typer.Context, vm: VmNames) -> Action:
    """Let paused VMs go on."""
    from innkeeper.cli import vms

    return lambda: vms.each(context.obj.parts, vm, "runs", lambda each: each.resume())


def _rm(
    context: typer.Context,
    vm: VmNames,
    force: Annotated[bool, typer.Option("--force", "-f", help="Also those that run.")] = False,
) -> Action:
    """Remove VMs with their own disks."""
    from innkeeper.cli import vms

    return lambda: vms.each(context.obj.parts, vm, "is removed", lambda each: each.remove(force=force))


def _fork(
    context: typer.Context,
    vm: VmName,
    count: Annotated[str, typer.Option("--count", "-n", metavar="N", help="How many.")] = "1",
    name: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Of one. May be repeated.")] = None,
    label: Labels = None,
    as_json: Json = False,
) -> Action:
    """Make running copies of a running VM.

    They share its memory as long as they do not write to it. Prints their names.
    """
    from innkeeper.cli import vms

    number = parse_number("--count", count)
    labels = None if label is None else vms.parse_labels(label)
    return lambda: vms.fork(context.obj.parts, vm, number, name or (), labels, as_json)


def _clone(
    context: typer.Context,
    vm: VmName,
    name: NewName = None,
    start: Annotated[bool, typer.Option("--start", help="Start it, too.")] = False,
    as_json: Json = False,
) -> Action:
    """Make a VM like a stopped one, with copies of its disks."""
    from innkeeper.cli import vms

    return lambda: vms.clone(context.obj.parts, vm, name, start, as_json)


def _set(
    context: typer.Context,
    vm: VmName,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Its new name.")] = None,
    cpus: Annotated[str | None, typer.Option(metavar="N", help="Harts, 1 to 8.")] = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="RAM.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="NAME[=VALUE]", help="Without a value it is taken away."),
    ] = None,
    restart: Annotated[str | None, typer.Option(metavar="POLICY", help="See inn launch.")] = None,
    autostart: Annotated[
        bool | None, typer.Option("--autostart/--no-autostart", help="Start it with the host.")
    ] = None,
    net: Net = None,
    egress: Annotated[
        str | None, typer.Option(metavar="WORD", help="What the guest may reach: allow, deny or list.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="DESTINATION", help="In the place of what was allowed; an empty one: nothing."),
    ] = None,
    deny: Annotated[
        list[str] | None,
        typer.Option(metavar="DESTINATION", help="In the place of what was denied; an empty one: nothing."),
    ] = None,
    as_json: Json = False,
) -> Action:
    """Change a VM's name, sizes, labels, policies and network.

    Rules of the network hold at once, for what is open, too; adapters change after a stop.
    """
    from innkeeper.cli import vm_network, vms
    from innkeeper.cli.sizes import parse_size_bytes

    given: dict[str, Any] = {
        "name": name,
        "cpus": None if cpus is None else parse_number("--cpus", cpus),
        "memory_bytes": None if memory is None else parse_size_bytes(memory),
        "restart": restart,
        "autostart": autostart,
    }
    if net is not None or egress is not None or allow is not None or deny is not None:
        given["network"] = vm_network.network_changes(net, egress, allow, deny)
    changes = {key: value for key, value in given.items() if value is not None}
    return lambda: vms.change(context.obj.parts, vm, changes, label or (), as_json)


def _wait(
    context: typer.Context,
    vm: VmName,
    state: Annotated[
        str, typer.Option(metavar="STATE", help="ready, running, paused, stopped, crashed or ended.")
    ] = "ready",
    timeout: Timeout = "60",
) -> Action:
    """Wait until a VM is in a state."""
    from innkeeper.api.models import WaitState
    from innkeeper.cli import vms
    from innkeeper.cli.sizes import parse_timeout_s

    states = get_args(WaitState)
    if state not in states:
        raise ConfigError(f"there is no state '{state}'", f"choose of {', '.join(states)}")
    timeout_s = parse_timeout_s(timeout)
    return lambda: vms.wait(context.obj.parts, vm, cast(WaitState, state), timeout_s)


def parse_number(option: str, text: str) -> int:
    """The number given to `option`. Raises ConfigError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise ConfigError(f"'{text}' is not a number", f"{option} takes a whole number")
    return int(text)
