# SPDX-License-Identifier: Apache-2.0
"""The options that say what a machine is and what it boots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Cpus = Annotated[str, typer.Option(metavar="N", help="Harts, 1 to 8.")]
Memory = Annotated[str, typer.Option(metavar="SIZE", help="RAM: 512M, 2G, 1.5GiB.")]
Disk = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE[,ro]", help="A raw disk; ,ro makes it read-only. May be repeated."),
]
Kernel = Annotated[Path | None, typer.Option(metavar="FILE", help="Boot this kernel instead.")]
Initrd = Annotated[Path | None, typer.Option(metavar="FILE", help="Its initial RAM disk.")]
Append = Annotated[str, typer.Option(metavar="TEXT", help="Added to the kernel's command line.")]
Firmware = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Start this firmware in M-mode, such as OpenSBI.")
]
Engine = Annotated[str, typer.Option(metavar="NAME", help="auto, jit or reference.")]
