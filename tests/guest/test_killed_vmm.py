# SPDX-License-Identifier: Apache-2.0
"""SIGKILL to VMMs of real guests at random moments: what was acknowledged stays, and others go on.

INNKEEPER_KILLS says how often a guest is killed that writes to its disk; each time it boots again.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import innkeeper
from innkeeper.api import models
from innkeeper.api.frames import FrameKind
from innkeeper.api.places import Places
from innkeeper.client.sync import Client, Vm
from innkeeper.errors import InnkeeperError
from tests.unit.hypervisor.test_killed import _vmm_pids

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]
FORKS, AT_ONCE = 100, 10
KILLS = int(os.environ.get("INNKEEPER_KILLS", "3"))
READY_S = 120
BLOCK_BYTES = 512
DISK_BLOCKS = 1 << 14
WRITER = f"""
i=1
while [ $i -lt {DISK_BLOCKS} ]; do
	printf '%0{BLOCK_BYTES}d' $i >/tmp/block
	dd if=/tmp/block of=/dev/vda bs={BLOCK_BYTES} seek=$i conv=notrunc,fsync 2>/dev/null || exit 1
	echo $i
	i=$((i + 1))
done
"""


@pytest.fixture(scope="module")
def client(places: Places) -> Client:
    return innkeeper.connect()


def kill(vm: Vm) -> None:
    pid = vm.refresh().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_forks_killed_at_any_moment(client: Client, places: Places, rng: random.Random) -> None:
    """While they become themselves, while they run a command, and while they are idle."""
    origin = client.create("small", name="origin")
    origin.wait("ready", READY_S)
    answered = 0

    def use(fork: Vm) -> bool:
        try:
            return bool(fork.exec(["hostname"]).stdout)
        except InnkeeperError:
            return False

    for _ in range(FORKS // AT_ONCE):
        forks = origin.fork(AT_ONCE)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            used = [pool.submit(use, fork) for fork in forks if rng.random() < 0.7]
            for fork in rng.sample(forks, AT_ONCE):
                threading.Event().wait(rng.random() * 0.05)
                kill(fork)
            answered += sum(each.result() for each in used)
        for fork in forks:
            assert "killed" in fork.wait("crashed", READY_S).reason
            fork.remove()
    assert origin.exec(["echo", "well"]).stdout == b"well\n"
    assert [vm.name for vm in client.vms()] == ["origin"]
    assert {path.name for path in places.vms.iterdir()} == {origin.id}
    assert _vmm_pids(places) == {origin.refresh().pid}
    print(f"{answered} of {FORKS} had answered a command")
    origin.remove(force=True)


def test_what_a_guest_had_synced_is_on_its_disk(client: Client, tmp_path: Path, rng: random.Random) -> None:
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(BLOCK_BYTES * DISK_BLOCKS)
    vm = client.create("small", name="writer", disks=[models.Disk(path=str(disk))])
    for _ in range(KILLS):
        vm.wait("ready", READY_S)
        synced = _last_synced(vm, rng)
        content = disk.read_bytes()
        for block in range(1, synced + 1):
            place = block * BLOCK_BYTES
            assert int(content[place : place + BLOCK_BYTES]) == block, f"of {synced} blocks"
        assert "killed" in vm.wait("crashed", READY_S).reason
        vm.start()
    vm.remove(force=True)


def _last_synced(vm: Vm, rng: random.Random) -> int:
    """The last block that the guest said it had synced, when its VMM was killed."""
    said = bytearray()
    until = rng.randrange(1, 60)
    with vm.open_exec(models.ExecRequest(argv=["sh", "-c", WRITER])) as stream:
        try:
            for output in stream.outputs():
                assert output.kind == FrameKind.STDOUT, output
                said += output.data
                if said.count(b"\n") >= until:
                    threading.Event().wait(rng.random() * 0.02)
                    kill(vm)
                    until = DISK_BLOCKS
        except InnkeeperError:
            pass
    lines = said.rpartition(b"\n")[0].split()
    return int(lines[-1])
