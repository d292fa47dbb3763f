# SPDX-License-Identifier: Apache-2.0
"""What is imported when: the start of `inn` is what its user waits for each time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from innkeeper import __version__

HEAVY = {"typer", "rich", "httpx", "llvmlite", "innkeeper.vmm", "innkeeper.images", "innkeeper.engines"}


def _loaded(*arguments: str) -> tuple[str, set[str]]:
    code = (
        "import sys; from innkeeper.cli import main; status = main(sys.argv[1:]);"
        "print('\\n'.join(sys.modules), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout, set(done.stderr.split())


def test_version_loads_nothing() -> None:
    out, modules = _loaded("--version")
    assert out == f"inn {__version__}\n"
    assert not modules & HEAVY


@pytest.mark.parametrize("arguments", [["run", "--cpus", "x"], ["--help"], ["run", "--help"]])
def test_help_and_errors_load_the_parser_only(arguments: list[str]) -> None:
    _, modules = _loaded(*arguments)
    assert not modules & (HEAVY - {"typer"})


def test_the_package_loads_nothing() -> None:
    code = "import sys, innkeeper, innkeeper.errors; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert not set(done.stdout.split()) & (HEAVY | {"innkeeper.cli", "innkeeper.spec"})
