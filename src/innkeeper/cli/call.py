# SPDX-License-Identifier: Apache-2.0
"""What the declarations of commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from innkeeper.cli.parts import Parts

Action = Callable[[], int]
"""What a command does once its arguments are understood; called outside Typer."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class Call:
    """What a command is given besides its arguments: the parts, and what stood after `--`."""

    def __init__(self, parts: Parts, command: list[str] | None) -> None:
        self.parts = parts
        self.command = command
