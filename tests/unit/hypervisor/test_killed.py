# SPDX-License-Identifier: Apache-2.0
"""SIGKILL to the hypervisor at random moments.

Nothing acknowledged is lost, nothing is left over, and VMs that run go on and are adopted.
"""

from __future__ import annotations

import os
import random
import select
import signal
import threading
from pathlib import Path

from innkeeper.api.places import Places
from innkeeper.client.endpoint import Endpoint
from innkeeper.client.sync import Client
from innkeeper.errors import InnkeeperError
from innkeeper.host.processes import process_start_ticks
from tests.unit.hypervisor.daemon import fork_hypervisor

RUNS = 100
VMS_MAX = 6
KILL_WITHIN_S = 0.15


class Model:
    """What was acknowledged: state and pid of each VM by name, and what is not known for sure."""

    def __init__(self) -> None:
        self.vms: dict[str, tuple[str, int | None]] = {}
        self.uncertain: set[str] = set()
        self.snapshots: set[str] = set()
        self.number = 0
        self.acknowledged = 0

    def one_thing(self, client: Client, rng: random.Random) -> None:
        """Do something; raises if it is not acknowledged, with what it was about in `uncertain`."""
        self.number += 1
        names = sorted(self.vms)
        running = [name for name in names if self.vms[name][0] == "running"]
        kind = rng.choice(["create", "create", "start", "stop", "remove", "fork", "snapshot", "rename"])
        if kind == "create" or not names:
            if len(names) >= VMS_MAX:
                kind = "remove"
            else:
                name = f"vm-{self.number}"
                self.uncertain.add(name)
                vm = client.create(name=name, start=rng.random() < 0.7)
                self.vms[name] = vm.state, vm.info.pid
                self.uncertain.discard(name)
                return
        name = rng.choice(running or names) if kind in ("fork", "snapshot") else rng.choice(names)
        self.uncertain.add(name)
        vm = client.vm(name)
        if kind == "start":
            vm.start()
            self.vms[name] = "running", vm.info.pid
        elif kind == "stop":
            vm.stop(force=rng.random() < 0.5)
            self.vms[name] = "stopped", None
        elif kind == "remove":
            vm.remove(force=True)
            del self.vms[name]
        elif kind == "rename":
            self.uncertain.add(new := f"vm-{self.number}")
            vm.update(name=new)
            self.vms[new] = self.vms.pop(name)
            self.uncertain.discard(new)
        elif self.vms[name][0] == "running" and kind == "fork" and len(names) < VMS_MAX:
            self.uncertain.add(new := f"vm-{self.number}")
            (fork,) = vm.fork(names=[new])
            self.vms[new] = fork.state, fork.info.pid
            self.uncertain.discard(new)
        elif self.vms[name][0] == "running" and kind == "snapshot":
            self.snapshots.add(vm.snapshot().name)
        self.uncertain.discard(name)

    def work(self, client: Client, rng: random.Random) -> None:
        """Do things until the hypervisor is gone."""
        while True:
            try:
                self.one_thing(client, rng)
            except InnkeeperError:
                return
            self.acknowledged += 1

    def check(self, client: Client, places: Places) -> None:
        """The hypervisor knows what was acknowledged, and there is nothing that it does not know."""
        found = {vm.name: vm for vm in client.vms()}
        for name, (state, pid) in self.vms.items():
            if name in self.uncertain:
                continue
            vm = found[name]
            if state == "running":
                vm.wait("running", 20)
            assert (vm.state, vm.info.pid) == (state, pid), vm.info
        assert set(found) - set(self.vms) <= self.uncertain
        assert self.snapshots <= {snapshot.name for snapshot in client.snapshots()}
        assert {path.name for path in places.vms.iterdir()} == {vm.id for vm in found.values()}
        assert {path.name for path in places.snapshots.iterdir()} == {s.id for s in client.snapshots()}
        for name, vm in found.items():
            if name in self.uncertain:
                vm.remove(force=True)
                self.vms.pop(name, None)
        for name in self.uncertain:
            self.vms.pop(name, None)
        self.uncertain.clear()
        known = {pid for _, pid in self.vms.values() if pid is not None}
        assert _vmm_pids(places) == known


def _vmm_pids(places: Places) -> set[int]:
    """Processes that were started, or forked, for a VM in `places`."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(places.vms) in words and process_start_ticks(int(entry.name)) is not None:
                found.add(int(entry.name))
    return found


def test_killed_at_any_moment(places: Places, rng: random.Random) -> None:
    model = Model()
    client = Client(Endpoint(places.socket))
    for _ in range(RUNS):
        child, ready = fork_hypervisor(places)
        if rng.random() < 0.1:
            # While it starts: it may be at clearing up, or adopting.
            select.select([ready], [], [], rng.random() * KILL_WITHIN_S)
        else:
            assert os.read(ready, 100) == b"ready\n"
            model.check(client, places)
            worker = threading.Thread(target=model.work, args=(client, random.Random(rng.random())))
            worker.start()
            worker.join(rng.random() * KILL_WITHIN_S)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        if "worker" in locals():
            worker.join(60)
            assert not worker.is_alive()
    assert model.acknowledged > RUNS // 4, "a busy host does less, but not nothing"
    child, ready = fork_hypervisor(places)
    assert os.read(ready, 100) == b"ready\n"
    model.check(client, places)
    for vm in client.vms():
        vm.remove(force=True)
    client.stop_hypervisor()
    os.waitpid(child, 0)
    os.close(ready)
