# SPDX-License-Identifier: Apache-2.0
"""The command `inn`.

`main` is the entry point. Everything else is imported when a command needs it, so that `inn --version` and a
wrong argument answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from innkeeper import __version__
from innkeeper.cli.failures import STATUS_INTERRUPTED, exit_status

if TYPE_CHECKING:
    from innkeeper.cli.parts import Parts


def main(arguments: Sequence[str] | None = None, parts: Parts | None = None) -> int:
    """Run `inn` with `arguments` (default: the process's own) and return its exit status.

    `parts` is what the commands work with; tests give fakes, the default is the real thing.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        return exit_status(_print_version)
    try:
        from innkeeper.cli.app import invoke
    except KeyboardInterrupt:
        return STATUS_INTERRUPTED
    return invoke(given, parts)


def _print_version() -> int:
    print(f"inn {__version__}")
    return 0
