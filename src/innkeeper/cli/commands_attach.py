# SPDX-License-Identifier: Apache-2.0
"""The commands that show or reach the inside of a VM; what they do is in `innkeeper.cli.attach`."""

from __future__ import annotations

from typing import Annotated

import typer

from innkeeper.cli.call import Action
from innkeeper.cli.commands_vms import VmName
from innkeeper.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the commands to `inn`."""
    app.command("logs")(_logs)
    app.command("console")(_console)
    app.command("exec", epilog="After -- stands the command: inn exec web -- uname -a")(_exec)


def _logs(
    context: typer.Context,
    vm: VmName,
    source: Annotated[
        str, typer.Option(metavar="SOURCE", help="console, or vmm: what the VM's process had to say.")
    ] = "console",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the VM ends.")] = False,
) -> Action:
    """Print what a guest printed on its console."""
    from innkeeper.cli import vms

    if source not in ("console", "vmm"):
        raise ConfigError(f"there is no log '{source}'", "choose console or vmm")
    return lambda: vms.logs(context.obj.parts, vm, source, follow)


def _console(
    context: typer.Context,
    vm: VmName,
    no_history: Annotated[
        bool, typer.Option("--no-history", help="Do not begin with what was printed last.")
    ] = False,
) -> Action:
    """Attach this terminal to a VM's console.

    Ctrl-] q leaves it; the VM runs on. Several terminals may be attached at once.
    """
    from innkeeper.cli import attach

    return lambda: attach.attach(context.obj.parts, vm, not no_history)


def _exec(
    context: typer.Context,
    vm: VmName,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE", help="May be repeated.")
    ] = None,
    cwd: Annotated[str, typer.Option(metavar="FOLDER", help="Where it runs; default: its user's home.")] = "",
    user: Annotated[str, typer.Option(metavar="USER", help="Who runs it; default: root.")] = "",
    tty: Annotated[
        bool | None,
        typer.Option("--tty/--no-tty", help="Give it a terminal; default: if this is one."),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="End it after this time; status 124.")
    ] = None,
) -> Action:
    """Run a command in a running guest; its status is ours."""
    from innkeeper.cli import attach
    from innkeeper.cli.sizes import parse_timeout_s

    timeout_s = 0.0 if timeout is None else parse_timeout_s(timeout)
    request = attach.exec_request(context.obj.command, env, cwd, user, tty, timeout_s)
    return lambda: attach.run_command(context.obj.parts, vm, request)
