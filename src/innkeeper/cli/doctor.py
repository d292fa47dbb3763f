# SPDX-License-Identifier: Apache-2.0
"""`inn doctor`: what this host offers, what would be chosen, and the remedy for what is missing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from innkeeper.cli.failures import STATUS_ERROR
from innkeeper.errors import InnkeeperError

State = Literal["ok", "note", "missing"]
"""`missing` keeps guests from running; `optional` is something that `inn run` does without."""

STYLE_OF_STATE = {"ok": "green", "note": "yellow", "missing": "bold red"}


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and if it is not all well, why and what to do about it."""

    name: str
    state: State
    found: str
    cause: str = ""
    remedy: str = ""


def report(checks: Iterable[Callable[[], Check]], as_json: bool) -> int:
    """Print the checks, as they are made, or as JSON; returns 0, or 2 if guests cannot run here."""
    if as_json:
        made = [_make(check) for check in checks]
        print(json.dumps([asdict(check) for check in made], indent=2))
    else:
        made = [_print(_make(check)) for check in checks]
        _print_verdict(made)
    return STATUS_ERROR if any(check.state == "missing" for check in made) else 0


def _make(check: Callable[[], Check]) -> Check:
    """Make `check`; that it fails is a finding too, and the others are still wanted."""
    try:
        return check()
    except Exception as failure:
        cause = (
            str(failure) if isinstance(failure, InnkeeperError) else f"{type(failure).__name__}: {failure}"
        )
        return Check(check.__name__, "missing", "could not be looked at", cause, "report this as a defect")


def _print(check: Check) -> Check:
    """One line for what was found; under it, indented, the cause and the remedy."""
    print(f"{_paint(f'{check.state:<8}', check.state)} {check.name:<16} {check.found}")
    for heading, text in (("cause", check.cause), ("remedy", check.remedy)):
        if text:
            print(f"{'':<26}{heading}: {text}")
    sys.stdout.flush()
    return check


def _print_verdict(checks: Iterable[Check]) -> None:
    missing = [check.name for check in checks if check.state == "missing"]
    if missing:
        print(f"\nGuests cannot run here yet: {', '.join(missing)}.")
    else:
        print("\nGuests can run here: inn run")


def _paint(text: str, state: State) -> str:
    if not sys.stdout.isatty():
        return text
    from rich.console import Console
    from rich.text import Text

    console = Console()
    with console.capture() as capture:
        console.print(Text(text, style=STYLE_OF_STATE[state]), end="")
    return capture.get()
