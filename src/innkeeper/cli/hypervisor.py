# SPDX-License-Identifier: Apache-2.0
"""`inn hypervisor`: run it, look at it, end it."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from innkeeper.api.places import Places
from innkeeper.cli.failures import STATUS_ERROR, say
from innkeeper.cli.tables import format_age
from innkeeper.cli.vms import print_json
from innkeeper.errors import HostError
from innkeeper.host.clock import HostClock

UNIT = """\
# Put this into ~/.config/systemd/user/innkeeper.service, then: systemctl --user enable --now innkeeper
[Unit]
Description=Innkeeper, the hypervisor of this user

[Service]
ExecStart={command}
# VMs are processes of their own and run on while the hypervisor is restarted.
KillMode=process
Restart=on-failure

[Install]
WantedBy=default.target
"""


def run(listen: str | None, certificate: Path | None, key: Path | None, token_file: Path | None) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    from innkeeper.hypervisor import process

    os.umask(0o077)
    places = Places.of(os.environ, os.geteuid())
    process.run(
        process.Settings(places, listen=listen, certificate=certificate, key=key, token_file=token_file)
    )
    return 0


def status(as_json: bool) -> int:
    """Print what the hypervisor says of itself; status 2 if there is none."""
    from innkeeper import client

    try:
        with client.connect(start=False) as connection:
            info = connection.info()
    except HostError:
        say("the hypervisor does not run (the next command that needs it starts it)")
        return STATUS_ERROR
    if as_json:
        print_json(asdict(info))
        return 0
    age = format_age(HostClock().wall_ns() - info.started_ns)
    print(f"hypervisor {info.version}, process {info.pid}, for {age}")
    print(f"VMs         {info.vms}, {info.running} of them active")
    print(f"state       {info.state_folder}")
    print(f"runtime     {info.runtime_folder}")
    return 0


def stop(vms: bool) -> int:
    """End the hypervisor, and all VMs first if asked for."""
    from innkeeper import client

    try:
        with client.connect(start=False) as connection:
            if vms:
                for vm in connection.vms():
                    if vm.state not in ("stopped", "crashed"):
                        vm.stop()
            info = connection.stop_hypervisor()
    except HostError:
        say("the hypervisor does not run")
        return 0
    left = 0 if vms else info.running
    say("the hypervisor ends" + (f"; {left} VMs run on" if left else ""))
    return 0


def print_unit() -> int:
    """Print a unit for systemd --user."""
    command = shlex.join([sys.executable, "-m", "innkeeper.hypervisor"])
    print(UNIT.format(command=command), end="")
    return 0
