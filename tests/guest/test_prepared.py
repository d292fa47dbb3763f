# SPDX-License-Identifier: Apache-2.0
"""Prepared starts: each is a machine of its own, and what is wrong with a snapshot costs a boot, no more."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.images import prepared
from tests.guest.machines import machine

pytestmark = pytest.mark.guest
MEMORY_BYTES = 192 << 20
"""No other test has this, so the snapshots are this module's own."""
WHO_AM_I = (
    "cat /etc/machine-id /sys/class/net/eth0/address /run/innkeeper/generation;"
    "head -c 16 /dev/urandom | od -An -tx1; date +%s; ls /root; cat /proc/uptime"
)
WAIT_S = 60.0


def folders() -> set[Path]:
    parent = prepared.prepared_folder("small", "any").parent
    return {path for path in parent.glob("*") if (path / "memory.raw.json").exists()}


def run(command: str, **arguments: object) -> str:
    result = machine(memory_bytes=MEMORY_BYTES, cold=False, **arguments).run(command)
    assert result.returncode == 0, result.stderr
    return result.stdout.decode()


def wait_for_new(before: set[Path]) -> Path:
    """The snapshot that a start has left; its writer may go on when the command has ended."""
    deadline = time.monotonic() + WAIT_S
    while not (new := folders() - before):
        assert time.monotonic() < deadline, "no snapshot was left"
        time.sleep(0.01)
    [folder] = new
    return folder


@pytest.fixture(scope="module")
def snapshot() -> Iterator[Path]:
    """A start of this module's size, just made; no other is there, for which it would have to make room."""
    prepared.drop_all("small")
    before = folders()
    run("echo secret > /root/file; echo mine > /tmp/file")
    folder = wait_for_new(before)
    yield folder
    prepared.drop(folder)


def test_each_is_a_machine_of_its_own(snapshot: Path) -> None:
    first, second = (run(WHO_AM_I).splitlines() for _ in range(2))
    assert len(first) == len(second) == 6, "the first command has left something"
    for name, one, other in zip(("machine-id", "MAC", "generation", "random"), first, second, strict=False):
        assert one and one != other, name
    for lines in (first, second):
        assert abs(int(lines[4]) - time.time()) < 60, "its clock is wrong"
    assert float(first[5].split()[0]) > 0.3, "it has booted"


@pytest.mark.parametrize("name", ["snapshot.json", "memory.pack", "memory.raw"])
def test_a_damaged_one_is_dropped_and_made_again(snapshot: Path, name: str) -> None:
    path = snapshot / name
    if name == "memory.raw":  # what is unpacked is not trusted when it was touched, but made again
        path.write_bytes(b"x" * 4096)
        assert run("echo works") == "works\n"
        assert snapshot.exists()
        return
    before = folders() - {snapshot}
    old = path.stat().st_ino
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (snapshot / "memory.raw.json").unlink()
    assert run("echo works") == "works\n"
    assert wait_for_new(before) == snapshot
    assert path.stat().st_ino != old or bytes(data) != path.read_bytes()


def test_what_others_remove_meanwhile_costs_a_boot(snapshot: Path) -> None:
    before = folders() - {snapshot}
    shutil.rmtree(snapshot)
    snapshot.mkdir(mode=0o700)
    assert run("echo works") == "works\n"
    wait_for_new(before)


def test_one_that_leads_nowhere_is_given_up(snapshot: Path) -> None:
    """Its memory is zeroes, by whatever way: nothing of the command has run, so the guest boots."""
    raw = snapshot / "memory.raw"
    before = folders() - {snapshot}
    size_bytes = raw.stat().st_size
    with open(raw, "r+b") as file:
        file.truncate(0)
        file.truncate(size_bytes)
    _trust(snapshot)
    assert run("echo works") == "works\n"
    wait_for_new(before)


def _trust(snapshot: Path) -> None:
    """Let the record beside memory.raw be of the file as it is now."""
    from innkeeper.machine import snapshot_memory
    from innkeeper.machine.snapshot_folder import read_manifest

    with open(snapshot / "memory.raw", "rb") as file:
        record = snapshot_memory._raw_record(os.fstat(file.fileno()), read_manifest(snapshot))
    (snapshot / "memory.raw.json").write_text(json.dumps(record))


def test_with_its_network(snapshot: Path) -> None:
    assert "10.0.2.15" in run("ifconfig eth0; ping -c 1 -W 5 10.0.2.2")


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("debian")
def test_an_image_with_a_disk() -> None:
    """Each start has the root disk as it was when the guest had booted."""
    debian = {"image": "debian", "cold": False, "memory_bytes": 384 << 20}
    parent = prepared.prepared_folder("debian", "any").parent
    had = set(parent.glob("*"))
    try:
        for _ in range(2):
            result = machine(**debian).run(
                "test ! -e /root/mark && echo x > /root/mark && sync && cat /root/mark"
            )
            assert (result.stdout, result.returncode) == (b"x\n", 0), result.stderr
            deadline = time.monotonic() + WAIT_S
            while not list(parent.glob("*/memory.raw.json")):
                assert time.monotonic() < deadline
                time.sleep(0.01)
    finally:
        for folder in set(parent.glob("*")) - had:
            prepared.drop(folder)
