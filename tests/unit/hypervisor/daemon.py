# SPDX-License-Identifier: Apache-2.0
"""The hypervisor as a process, over stand-in VMMs: `python -m tests.unit.hypervisor.daemon RUNTIME STATE`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from innkeeper.api.places import Places
from innkeeper.client.endpoint import Endpoint, ensure_running
from innkeeper.client.sync import Client
from innkeeper.errors import InnkeeperError
from innkeeper.hypervisor.process import Settings, run

ROOT = Path(__file__).parents[3]
STAND_IN = (sys.executable, str(ROOT / "tests/unit/hypervisor/stand_in_vmm.py"))
CERTIFICATE = ROOT / "tests/unit/hypervisor/test_certificate.pem"
KEY = ROOT / "tests/unit/hypervisor/test_key.pem"


def command(places: Places, *more: str) -> Sequence[str]:
    """What starts the hypervisor for `places`."""
    return (sys.executable, str(Path(__file__)), str(places.runtime), str(places.state), *more)


def start(places: Places) -> Client:
    """Start a hypervisor as a client does, and connect to it."""
    os.environ["PYTHONPATH"] = str(ROOT)
    ensure_running(places, command(places))
    return Client(Endpoint(places.socket))


def start_with(places: Places, *more: str) -> subprocess.Popen[bytes]:
    """Start a hypervisor with more arguments; returns when it is ready or has ended."""
    reading, writing = os.pipe()
    arguments = command(places, *more, "--ready-fd", str(writing))
    process = subprocess.Popen(
        arguments, pass_fds=[writing], env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE
    )
    os.close(writing)
    os.read(reading, 100)
    os.close(reading)
    return process


def fork_hypervisor(places: Places, before: Callable[[], None] = lambda: None) -> tuple[int, int]:
    """A hypervisor in a fork of this process, which starts ten times faster: its pid, and what says ready."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            before()
            run(Settings(places, vmm_command=STAND_IN, ready_fd=writing))
        finally:
            os._exit(1)
    os.close(writing)
    return child, reading


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("runtime", type=Path)
    parser.add_argument("state", type=Path)
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--listen")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--token-file", type=Path)
    given = vars(parser.parse_args())
    places = Places(given.pop("runtime"), given.pop("state"))
    os.umask(0o077)
    try:
        run(Settings(places, vmm_command=STAND_IN, **given))
    except InnkeeperError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
