# SPDX-License-Identifier: Apache-2.0
"""The commands of `inn` and their arguments. What they do is in the module named after each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from innkeeper.cli import (
    commands_attach,
    commands_hypervisor,
    commands_launch,
    commands_network,
    commands_vm_network,
    commands_vms,
)
from innkeeper.cli.call import Action, Call, Json
from innkeeper.cli.failures import STATUS_ERROR, STATUS_INTERRUPTED, exit_status, say
from innkeeper.cli.machine_options import Append, Cpus, Disk, Engine, Firmware, Initrd, Kernel, Memory
from innkeeper.cli.network_options import Allow, Capture, Deny, Egress, Name, Net, Publish
from innkeeper.cli.parts import GuestOptions, Parts
from innkeeper.errors import ConfigError

SEPARATOR = "--"
WITH_COMMAND = ("run", "exec", "ssh")
IMAGE_HELP = "Its name; see inn images."

app = typer.Typer(
    name="inn",
    help="Run real Linux virtual machines, with no KVM, no root and no QEMU.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
)
images_app = typer.Typer(rich_markup_mode=None, add_completion=False)
app.add_typer(images_app, name="images", help="List, pull and remove the images that guests boot.")
commands_launch.register(app)
commands_vms.register(app)
commands_attach.register(app)
commands_hypervisor.register(app)
commands_network.register(app)
commands_vm_network.register(app)


def invoke(arguments: Sequence[str], parts: Parts | None) -> int:
    """Run `inn` with `arguments`; returns its exit status. Nothing is raised."""
    return exit_status(lambda: _invoke(list(arguments), parts or Parts()))


def _invoke(arguments: list[str], parts: Parts) -> int:
    command = None
    if SEPARATOR in arguments:
        place = arguments.index(SEPARATOR)
        arguments, command = arguments[:place], arguments[place + 1 :]
    # Typer brings its own copy of click or uses the installed one, by version: the class is asked for here.
    usage_error: type[Any] = typer.BadParameter.__mro__[1]
    try:
        asked = get_command(app)(arguments or ["--help"], standalone_mode=False, obj=Call(parts, command))
    except usage_error as error:
        path = error.ctx.command_path if getattr(error, "ctx", None) else "inn"
        message = error.format_message().rstrip(".")
        say(f"{message[:1].lower()}{message[1:]} (see {path} --help)")
        return STATUS_ERROR
    except typer.Abort:
        return STATUS_INTERRUPTED
    return asked() if callable(asked) else int(asked or 0)


def _print_version(wanted: bool) -> None:
    if wanted:
        from innkeeper import __version__

        print(f"inn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.obj.command is not None and context.invoked_subcommand not in WITH_COMMAND:
        raise ConfigError("only inn run, inn exec and inn ssh take a command after --", "see inn --help")


@app.command(
    "run",
    epilog="After -- stands the command to run in the guest: inn run -- uname -a",
    context_settings={"allow_extra_args": True},
)
def _run(
    context: typer.Context,
    image: Annotated[str | None, typer.Argument(metavar="IMAGE", help=IMAGE_HELP)] = None,
    cpus: Cpus = "1",
    memory: Memory = "512M",
    disk: Disk = None,
    kernel: Kernel = None,
    initrd: Initrd = None,
    append: Append = "",
    firmware: Firmware = None,
    engine: Engine = "auto",
    net: Net = None,
    name: Name = "",
    publish: Publish = None,
    egress: Egress = "allow",
    allow: Allow = None,
    deny: Deny = None,
    capture: Capture = None,
    cold: Annotated[
        bool, typer.Option("--cold", help="Boot, though a snapshot of the booted guest could do.")
    ] = False,
    timeout: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="End the guest after this time; status 124.")
    ] = None,
) -> Action:
    """Boot a guest.

    With a terminal, or for one command whose status is returned.

    Ctrl-] q leaves a guest with a terminal.
    """
    from innkeeper.cli import run
    from innkeeper.cli.sizes import parse_size_bytes, parse_timeout_s

    call: Call = context.obj
    if context.args:
        remedy = f"the guest's command stands after --: inn run {image} -- {shlex.join(context.args)}"
        raise ConfigError(f"unexpected argument '{context.args[0]}'", remedy)
    options = GuestOptions(
        image=image,
        cpus=_parse_cpus(cpus),
        memory_bytes=parse_size_bytes(memory),
        disks=tuple(disk or ()),
        kernel=kernel,
        initrd=initrd,
        append=append,
        firmware=firmware,
        engine=engine,
        net=tuple(net or ("user",)),
        name=name,
        ports=tuple(publish or ()),
        egress=egress,
        allow=tuple(allow or ()),
        deny=tuple(deny or ()),
        capture=capture,
        cold=cold,
        timeout_s=None if timeout is None else parse_timeout_s(timeout),
    )
    if call.command is None:
        return lambda: run.run_attached(call.parts, options)
    command = call.command
    if not command:
        raise ConfigError("no command stands after --", "as in inn run -- uname -a")
    return lambda: run.run_command(call.parts, options, command)


def _parse_cpus(text: str) -> int:
    """A number of harts; how many there can be is for the machine to say."""
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise ConfigError(f"'{text}' is not a number of harts", "--cpus takes a whole number, 1 to 8")
    return int(text)


@images_app.callback(invoke_without_command=True)
def _images(context: typer.Context, as_json: Json = False) -> Action | None:
    """List, pull and remove the images that guests boot. Alone it lists them."""
    from innkeeper.cli import images

    if context.invoked_subcommand is None:
        return lambda: images.list_images(context.obj.parts, as_json)
    if as_json:
        raise ConfigError("--json stands after the command", "inn images ls --json")
    return None


@images_app.command("ls")
def _images_ls(context: typer.Context, as_json: Json = False) -> Action:
    """List what can be booted, and what of it is in the cache."""
    from innkeeper.cli import images

    return lambda: images.list_images(context.obj.parts, as_json)


@images_app.command("pull")
def _images_pull(
    context: typer.Context, image: Annotated[str, typer.Argument(metavar="IMAGE", help=IMAGE_HELP)]
) -> Action:
    """Build an image in the cache now, so that inn run starts at once."""
    from innkeeper.cli import images

    return lambda: images.pull_image(context.obj.parts, image)


@images_app.command("rm")
def _images_rm(
    context: typer.Context, image: Annotated[list[str], typer.Argument(metavar="IMAGE", help=IMAGE_HELP)]
) -> Action:
    """Take images out of the cache."""
    from innkeeper.cli import images

    return lambda: images.remove_images(context.obj.parts, image)


@app.command("bench")
def _bench(
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(metavar="[network]", help="Measure the guest's network instead of the engine."),
    ] = None,
    against: Annotated[str | None, typer.Option(metavar="PEER", help="Measure this too: qemu.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Measure this workload. May be repeated.")
    ] = None,
    repeats: Annotated[int | None, typer.Option(metavar="N", help="Run each workload N times.")] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say instead where the time of each workload goes.")
    ] = False,
    cold: Annotated[bool, typer.Option("--cold", help="Measure with an empty code cache.")] = False,
    warm: Annotated[bool, typer.Option("--warm", help="Measure with a filled code cache.")] = False,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the speeds into this file too.")
    ] = None,
    as_json: Json = False,
) -> Action:
    """Measure the engine, or the guest's network.

    Boot and real workloads, as ratios to a peer in the same run.
    """
    from innkeeper.cli import bench
    from innkeeper.cli.parts import BenchRequest

    code_caches = bench.code_caches(cold=cold, warm=warm)
    request = BenchRequest(against, tuple(only or ()), repeats, profile, code_caches, what or "engine")
    return lambda: bench.measure(context.obj.parts, request, as_json, svg)


@app.command("doctor")
def _doctor(context: typer.Context, as_json: Json = False) -> Action:
    """Say what this host offers.

    What would be chosen, and what to do about what is missing.
    """
    from innkeeper.cli import doctor

    return lambda: doctor.report(context.obj.parts.checks(), as_json)
