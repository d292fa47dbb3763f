# SPDX-License-Identifier: Apache-2.0
"""The hypervisor as process 1 of a machine: here, of a PID namespace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from innkeeper.api.places import Places
from innkeeper.client.endpoint import Endpoint
from innkeeper.client.sync import Client
from tests.unit.hypervisor.daemon import ROOT, command

DEADLINE_S = 60.0


def _children(pid: int) -> list[str]:
    """State letters of the children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parts = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(parts[1]) == pid:
                found.append(parts[0])
    return found


def test_orphans_are_reaped_and_vms_are_stopped(places: Places) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare(1) to make a PID namespace")
    reading, writing = os.pipe()
    arguments = ["unshare", "-pf", "--mount-proc", *command(places, "--ready-fd", str(writing))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    outer = subprocess.Popen(arguments, pass_fds=[writing], env=environment)
    os.close(writing)
    assert os.read(reading, 100) == b"ready\n"
    os.close(reading)
    (inner,) = [int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit() and _parent(e) == outer.pid]
    client = Client(Endpoint(places.socket))
    assert client.info().pid == 1
    vm = client.create(name="a")
    forks = vm.fork(3)
    vm.stop(force=True)
    for fork in forks[:2]:
        fork.stop(force=True)
    deadline = time.monotonic() + DEADLINE_S
    while _children(inner) != ["S"] and time.monotonic() < deadline:
        pass
    assert len(_children(inner)) == 1, "children of a stopped VM come to process 1, which takes their status"
    os.kill(inner, signal.SIGTERM)
    assert outer.wait(60) == 0
    assert not places.socket.exists()


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
