# SPDX-License-Identifier: Apache-2.0
"""The command `inn`.

`main` is the entry point. Everything else is imported when a command needs it, so that `inn --version` and a
wrong argument answer at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from innkeeper import __version__
from innkeeper.cli.failures import STATUS_INTERRUPTED, exit_status

if TYPE_CHECKING:
    from innkeeper.cli.parts import Parts

_GARBAGE_OBJECTS = 20_000


def main(arguments: Sequence[str] | None = None, parts: Parts | None = None) -> int:
    """Run `inn` with `arguments` (default: the process's own) and return its exit status.

    `parts` is what the commands work with; tests give fakes, the default is the real thing.
    """
    if arguments is not None:
        return _run(list(arguments), parts)
    # Looking for garbage among what modules consist of, while they load and once more at the end, would take
    # a fifth of a short command's time.
    gc.set_threshold(_GARBAGE_OBJECTS)
    try:
        return _run(sys.argv[1:], parts)
    finally:
        gc.freeze()


def _run(given: list[str], parts: Parts | None) -> int:
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
