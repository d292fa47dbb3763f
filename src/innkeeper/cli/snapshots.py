# SPDX-License-Identifier: Apache-2.0
"""`inn snapshot`, `inn snapshots` and `inn restore`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from innkeeper.cli.failures import STATUS_ERROR, say
from innkeeper.cli.parts import Parts
from innkeeper.cli.sizes import format_size
from innkeeper.cli.tables import format_age, print_table
from innkeeper.cli.vms import print_json, shown_progress
from innkeeper.errors import InnkeeperError
from innkeeper.host.clock import HostClock

HEADINGS = ("NAME", "VM", "PARENT", "MEMORY", "STORED", "PAUSE", "AGE", "ID")


def take(parts: Parts, name: str, snapshot_name: str | None, as_json: bool) -> int:
    """Take a snapshot and print its name."""
    with parts.connect() as client, shown_progress() as on_progress:
        snapshot = client.vm(name).snapshot(snapshot_name, on_progress)
    if as_json:
        print_json(asdict(snapshot.info))
        return 0
    print(snapshot.name)
    if sys.stderr.isatty():
        say(f"{name} stood still for {snapshot.info.pause_ns / 1e6:.0f} ms (inn restore {snapshot.name})")
    return 0


def list_snapshots(parts: Parts, vm: str | None, as_json: bool) -> int:
    """Print snapshots, as a table or as JSON."""
    with parts.connect() as client:
        infos = [snapshot.info for snapshot in client.snapshots(vm)]
    if as_json:
        print_json([asdict(info) for info in infos])
        return 0
    now_ns = HostClock().wall_ns()
    names = {info.id: info.name for info in infos}
    rows = [
        (
            info.name,
            info.vm_name,
            names.get(info.parent_id or "", info.parent_id or "-"),
            format_size(info.memory_bytes),
            format_size(info.size_bytes),
            f"{info.pause_ns / 1e6:.0f} ms",
            format_age(now_ns - info.created_ns),
            info.id,
        )
        for info in infos
    ]
    print_table(HEADINGS, rows)
    return 0


def restore(
    parts: Parts,
    name: str,
    vm_name: str | None,
    in_place: bool,
    labels: Mapping[str, str] | None,
    as_json: bool,
) -> int:
    """Go on from a snapshot and print the VM's name."""
    with parts.connect() as client:
        vm = client.snapshot(name).restore(vm_name, in_place=in_place, labels=labels)
    if as_json:
        print_json(asdict(vm.info))
    else:
        print(vm.name)
    return 0


def remove(parts: Parts, names: Sequence[str]) -> int:
    """Remove snapshots; one that cannot be does not keep the others from it."""
    status = 0
    with parts.connect() as client:
        for name in names:
            try:
                client.snapshot(name).remove()
                say(f"{name} is removed")
            except InnkeeperError as error:
                say(str(error))
                status = STATUS_ERROR
    return status
