# SPDX-License-Identifier: Apache-2.0
"""The commands of VMs that the hypervisor keeps, and their arguments; what they do: `innkeeper.cli.vms`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from innkeeper.cli.call import Action, Json
from innkeeper.errors import ConfigError


def _complete_vms(incomplete: str) -> list[str]:
    """Names of VMs, if the hypervisor runs; nothing at all if anything is wrong."""
    try:
        from innkeeper import client

        with client.connect(start=False) as connection:
            return [vm.name for vm in connection.vms() if vm.name.startswith(incomplete)]
    except Exception:
        return []


def _complete_images(incomplete: str) -> list[str]:
    from innkeeper.images.definition import catalog

    return [image.name for image in catalog() if image.name.startswith(incomplete)]


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
        ("launch", _launch), ("ls", _ls), ("info", _info), ("start", _start), ("stop", _stop),
        ("pause", _pause), ("resume", _resume), ("restart", _restart), ("rm", _rm), ("fork", _fork),
        ("clone", _clone), ("set", _set), ("wait", _wait),
    ):  # fmt: skip
        app.command(name)(command)


def _launch(
    context: typer.Context,
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMAGE", help="What to boot; see inn images.", autocompletion=_complete_images
        ),
    ] = None,
    name: NewName = None,
    cpus: Annotated[str, typer.Option(metavar="N", help="Harts, 1 to 8.")] = "1",
    memory: Annotated[str, typer.Option(metavar="SIZE", help="RAM: 512M, 2G, 1.5GiB.")] = "512M",
    disk: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[,ro]", help="A raw disk; ,ro makes it read-only. May be repeated."),
    ] = None,
    kernel: Annotated[Path | None, typer.Option(metavar="FILE", help="Boot this kernel instead.")] = None,
    initrd: Annotated[Path | None, typer.Option(metavar="FILE", help="Its initial RAM disk.")] = None,
    append: Annotated[str, typer.Option(metavar="TEXT", help="Added to the kernel's command line.")] = "",
    firmware: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Start this firmware in M-mode, such as OpenSBI.")
    ] = None,
    engine: Annotated[str, typer.Option(metavar="NAME", help="auto, jit or reference.")] = "auto",
    label: Labels = None,
    restart: Annotated[
        str, typer.Option(metavar="POLICY", help="never, on-failure or always: start it again when it ends.")
    ] = "never",
    autostart: Annotated[
        bool, typer.Option("--autostart", help="Start it when the host has been restarted.")
    ] = False,
    no_start: Annotated[bool, typer.Option("--no-start", help="Make it, and do not start it.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until its guest answers.")] = False,
    as_json: Json = False,
) -> Action:
    """Make a VM that runs in the background, and start it.

    Prints its name.
    """
    from innkeeper.cli import vms
    from innkeeper.cli.sizes import parse_size_bytes

    settings: dict[str, Any] = {
        "name": name,
        "cpus": _number("--cpus", cpus),
        "memory_bytes": parse_size_bytes(memory),
        "disks": [_absolute_disk(text) for text in disk or ()],
        "kernel": _absolute(kernel),
        "initrd": _absolute(initrd),
        "append": append,
        "firmware": _absolute(firmware),
        "engine": engine,
        "labels": vms.parse_labels(label),
        "restart": restart,
        "autostart": autostart,
        "start": not no_start,
    }
    return lambda: vms.launch(context.obj.parts, image, settings, not no_wait, as_json)


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
    force: Annotated[bool, typer.Option("--force", help="As by pulling the plug.")] = False,
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
    force: Annotated[bool, typer.Option("--force", help="As by pulling the plug.")] = False,
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
    force: Annotated[bool, typer.Option("--force", help="Also those that run.")] = False,
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

    number = _number("--count", count)
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
    as_json: Json = False,
) -> Action:
    """Change a VM's name, sizes, labels and policies."""
    from innkeeper.cli import vms
    from innkeeper.cli.sizes import parse_size_bytes

    given: dict[str, Any] = {
        "name": name,
        "cpus": None if cpus is None else _number("--cpus", cpus),
        "memory_bytes": None if memory is None else parse_size_bytes(memory),
        "restart": restart,
        "autostart": autostart,
    }
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


def _number(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise ConfigError(f"'{text}' is not a number", f"{option} takes a whole number")
    return int(text)


def _absolute(path: Path | None) -> str | None:
    """The hypervisor has a working folder of its own."""
    return None if path is None else str(path.absolute())


def _absolute_disk(text: str) -> str:
    path, comma, option = text.rpartition(",")
    if comma and option == "ro" and not Path(text).exists():
        return f"{Path(path).absolute()},ro"
    return str(Path(text).absolute())
