# SPDX-License-Identifier: Apache-2.0
"""Asks the command line itself whether a command that a page shows exists."""

from __future__ import annotations

import shlex
from functools import cache
from typing import Any

from typer.main import get_command

from innkeeper.cli.app import app


@cache
def commands() -> dict[str, Any]:
    """Every command by its words: `run`, `images`, `images pull`, and "" for `inn` itself."""
    root: Any = get_command(app)
    found: dict[str, Any] = {"": root}
    for name, command in root.commands.items():
        found[name] = command
        for sub_name, sub_command in getattr(command, "commands", {}).items():
            found[f"{name} {sub_name}"] = sub_command
    return found


def options_of(command: Any) -> set[str]:
    """The options of `command`, `--help` apart."""
    return {option for parameter in command.params for option in parameter.opts if option.startswith("--")}


def check_command(line: str) -> None:
    """AssertionError unless `line`, as typed in a shell, is a command of `inn` with options that it has."""
    words = shlex.split(line, comments=True)
    assert words and words[0] == "inn", f"not a command of inn: {line}"
    words = words[1 : words.index("--")] if "--" in words else words[1:]
    name = ""
    for word in words[:2]:
        longer = f"{name} {word}".strip()
        if longer not in commands():
            break
        name = longer
    assert name or not words or words[0].startswith("-"), f"there is no such command: {line}"
    known = options_of(commands()[name]) | {"--help"}
    unknown = {word.split("=")[0] for word in words if word.startswith("--")} - known
    assert not unknown, f"inn {name} has no {unknown}: {line}"
