# SPDX-License-Identifier: Apache-2.0
"""The options that say how a guest is connected."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Net = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NETWORK",
        help="user, none, a private network's name, tap:INTERFACE or bridge:BRIDGE. May be repeated.",
    ),
]
Name = Annotated[str, typer.Option(metavar="NAME", help="What other VMs on its private networks call it.")]
Publish = Annotated[
    list[str] | None,
    typer.Option(
        "--publish",
        "-p",
        metavar="[ADDR:]PORT:GUEST_PORT[/udp]",
        help="Lead a port of this host to the guest; of its loopback unless ADDR says otherwise.",
    ),
]
Egress = Annotated[
    str, typer.Option(metavar="WORD", help="What the guest may reach: allow, deny, or list (--allow).")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DESTINATION", help="Let the guest reach this: host:8080, *.example.org, 10.1.0.0/16."
    ),
]
Deny = Annotated[
    list[str] | None, typer.Option(metavar="DESTINATION", help="Do not let the guest reach this.")
]
Capture = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the network's frames into this pcapng file.")
]
