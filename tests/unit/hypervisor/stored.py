# SPDX-License-Identifier: Apache-2.0
"""Records to put into stores, and what a store holds, for comparing."""

from __future__ import annotations

import random
from dataclasses import replace

from innkeeper.api.models import Disk
from innkeeper.hypervisor.changes import begin, drop_vm, end, put_vm
from innkeeper.hypervisor.records import Intent, Settings, VmRecord
from innkeeper.hypervisor.store import Change, Store

SETTINGS = Settings(
    image="small", kernel=None, initrd=None, append="", firmware=None, engine="auto", cpus=1,
    memory_bytes=1 << 29, restart="never", autostart=False, labels={"role": "web"},
    disks=[Disk(path="/tmp/a.img"), Disk(path="/tmp/b.img", read_only=True)],
)  # fmt: skip


class TestClock:
    """A wall clock that ticks when it is read."""

    __test__ = False

    def __init__(self) -> None:
        self._now_ns = 1_000

    def wall_ns(self) -> int:
        self._now_ns += 1
        return self._now_ns


def vm_record(number: int) -> VmRecord:
    return VmRecord(
        id=f"{number:012x}",
        name=f"vm-{number}",
        settings=SETTINGS,
        mac_address=f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
        generation=f"{number:032x}",
        created_ns=number,
    )


def contents(store: Store) -> tuple[object, ...]:
    """All that a transaction of `random_changes` can change, and the number of the last event."""
    return store.vms(), sorted(store.intents(), key=lambda intent: intent.id), store.last_event()


def random_changes(rng: random.Random, vms: list[VmRecord], number: int) -> list[Change]:
    """A transaction as the hypervisor makes them: a VM appears, changes or goes, with its intent."""
    kind = rng.choice(("new", "new", "change", "drop", "intent"))
    intent = Intent(kind="vm", id=f"{number:012x}")
    if kind == "new" or not vms:
        return [put_vm(vm_record(number)), end(intent)]
    vm = rng.choice(vms)
    if kind == "change":
        labels = {f"l{i}": "x" * rng.randrange(200) for i in range(rng.randrange(8))}
        return [
            put_vm(
                replace(vm, reason="r" * rng.randrange(4000), settings=replace(vm.settings, labels=labels))
            )
        ]
    if kind == "drop":
        return [drop_vm(vm.id)]
    return [begin(intent)]
