# SPDX-License-Identifier: Apache-2.0
"""The command that makes VMs, and its arguments; what it does: `innkeeper.cli.vms`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from innkeeper.cli.call import Action, Json
from innkeeper.cli.commands_vms import Labels, NewName, parse_number
from innkeeper.cli.machine_options import Append, Cpus, Disk, Engine, Firmware, Initrd, Kernel, Memory
from innkeeper.cli.network_options import Allow, Deny, Egress, Net, Publish


def register(app: typer.Typer) -> None:
    """Add the command to `inn`."""
    app.command("launch")(_launch)


def _complete_images(incomplete: str) -> list[str]:
    from innkeeper.images.definition import catalog

    return [image.name for image in catalog() if image.name.startswith(incomplete)]


def _launch(
    context: typer.Context,
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMAGE", help="What to boot; see inn images.", autocompletion=_complete_images
        ),
    ] = None,
    name: NewName = None,
    cpus: Cpus = "1",
    memory: Memory = "512M",
    disk: Disk = None,
    kernel: Kernel = None,
    initrd: Initrd = None,
    append: Append = "",
    firmware: Firmware = None,
    engine: Engine = "auto",
    net: Net = None,
    publish: Publish = None,
    egress: Egress = "allow",
    allow: Allow = None,
    deny: Deny = None,
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
    from innkeeper.cli import vm_network, vms
    from innkeeper.cli.sizes import parse_size_bytes

    settings: dict[str, Any] = {
        "name": name,
        "cpus": parse_number("--cpus", cpus),
        "memory_bytes": parse_size_bytes(memory),
        "disks": [_absolute_disk(text) for text in disk or ()],
        "kernel": _absolute(kernel),
        "initrd": _absolute(initrd),
        "append": append,
        "firmware": _absolute(firmware),
        "engine": engine,
        "network": vm_network.network_settings(
            net or ("user",), publish or (), egress, allow or (), deny or ()
        ),
        "labels": vms.parse_labels(label),
        "restart": restart,
        "autostart": autostart,
        "start": not no_start,
    }
    return lambda: vms.launch(context.obj.parts, image, settings, not no_wait, as_json)


def _absolute(path: Path | None) -> str | None:
    """The hypervisor has a working folder of its own."""
    return None if path is None else str(path.absolute())


def _absolute_disk(text: str) -> str:
    path, comma, option = text.rpartition(",")
    if comma and option == "ro" and not Path(text).exists():
        return f"{Path(path).absolute()},ro"
    return str(Path(text).absolute())
