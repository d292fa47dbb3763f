# SPDX-License-Identifier: Apache-2.0
"""What the commands of VMs do. They talk to the hypervisor, which is started if it does not run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from innkeeper.cli.failures import STATUS_ERROR, say
from innkeeper.cli.parts import Parts
from innkeeper.cli.progress import ProgressDisplay
from innkeeper.cli.sizes import format_size
from innkeeper.cli.tables import format_age, print_table, visible
from innkeeper.errors import ConfigError, InnkeeperError
from innkeeper.host.clock import HostClock

if TYPE_CHECKING:
    from innkeeper.api.models import Operation, VmState, WaitState
    from innkeeper.api.models import Vm as VmInfo
    from innkeeper.client.sync import Client, Vm

HEADINGS = ("NAME", "STATE", "IMAGE", "CPUS", "MEMORY", "RESIDENT", "AGE", "ID")
READY_TIMEOUT_S = 120.0
DEFAULT_IMAGE = "small"
"""The hypervisor's default, too."""


def print_json(value: Any) -> None:
    """JSON for programs."""
    print(json.dumps(value, indent=2))


def parse_labels(texts: Sequence[str] | None) -> dict[str, str]:
    """`NAME=VALUE` each. ConfigError for something else."""
    labels = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"'{text}' is no label", "write NAME=VALUE")
        labels[name] = value
    return labels


@contextmanager
def shown_progress() -> Iterator[Callable[[Operation], None]]:
    """What shows how far an operation is."""
    with ProgressDisplay() as progress:
        yield lambda operation: progress.report(operation.what, operation.done, operation.total)


def launch(parts: Parts, image: str | None, settings: dict[str, Any], wait: bool, as_json: bool) -> int:
    """Make a VM and start it; with `wait` until its guest answers."""
    if settings.get("start", True) and settings.get("kernel") is None:
        _prepare_image(parts, image or DEFAULT_IMAGE)
    with parts.connect() as client, shown_progress() as on_progress:
        vm = client.create(image, on_progress=on_progress, **settings)
        if wait and settings.get("start", True) and vm.info.kernel is None:
            vm.wait("ready", READY_TIMEOUT_S)
        vm.refresh()
    _tell(
        [vm],
        as_json,
        f"{vm.name} {'runs' if vm.state == 'running' else 'is ' + vm.state} (inn console {vm.name})",
    )
    return 0


def _prepare_image(parts: Parts, name: str) -> None:
    """Build an image that is not in the cache, here, where the user sees how far it is."""
    if any(row.name == name and row.version is None for row in parts.list_images()):
        with ProgressDisplay() as progress:
            parts.pull_image(name, progress)


def list_vms(parts: Parts, labels: Sequence[str], as_json: bool, quiet: bool) -> int:
    """Print the VMs, as a table, as JSON, or as names only."""
    with parts.connect() as client:
        infos = [vm.info for vm in client.vms(labels)]
    if as_json:
        print_json([asdict(info) for info in infos])
    elif quiet:
        for info in infos:
            print(info.name)
    else:
        now_ns = HostClock().wall_ns()
        print_table(HEADINGS, [_row(info, now_ns) for info in infos])
    return 0


def _row(info: VmInfo, now_ns: int) -> tuple[str, ...]:
    age_ns = now_ns - (info.started_ns if info.pid and info.started_ns else info.created_ns)
    resident = "-" if info.resident_bytes is None else format_size(info.resident_bytes)
    memory = format_size(info.memory_bytes)
    image = info.image or info.kernel or "-"
    return info.name, info.state, image, str(info.cpus), memory, resident, format_age(age_ns), info.id


def show(parts: Parts, name: str, as_json: bool) -> int:
    """Print all that there is to say of a VM."""
    from innkeeper.cli import vm_network

    with parts.connect() as client:
        vm = client.vm(name)
        info = vm.info
        if as_json:
            print_json(vm_network.as_data(vm))
            return 0
        lines = list(vm_network.describe(vm))
    for key, value in asdict(info).items():
        if value in (None, "", [], {}) or key in ("network", "mac_address"):
            continue
        shown = format_size(value) if key.endswith("_bytes") else value
        if key.endswith("_ns"):
            shown = f"{format_age(HostClock().wall_ns() - value)} ago"
        if isinstance(value, dict):
            shown = " ".join(f"{name}={text}" for name, text in value.items())
        if isinstance(value, list):
            shown = " ".join(f"{disk['path']}{',ro' if disk['read_only'] else ''}" for disk in value)
        shown = visible(str(shown))
        print(f"{key.removesuffix('_bytes').removesuffix('_ns').replace('_', ' '):<16}{shown}")
    for heading, text in lines:
        print(f"{heading:<16}{text}")
    return 0


def each(parts: Parts, names: Sequence[str], done: str, act: Callable[[Vm], object]) -> int:
    """Do something with each of `names`; one that fails does not keep the others from it."""
    status = 0
    with parts.connect() as client:
        for name in names:
            try:
                vm = client.vm(name)
                act(vm)
                say(f"{vm.name} {done}")
            except InnkeeperError as error:
                say(str(error))
                status = STATUS_ERROR
    return status


def start(parts: Parts, names: Sequence[str], wait: bool) -> int:
    """Start VMs; with `wait` until their guests answer."""

    def act(vm: Vm) -> None:
        vm.start()
        if wait and vm.info.kernel is None:
            vm.wait("ready", READY_TIMEOUT_S)

    return each(parts, names, "runs", act)


def fork(
    parts: Parts, name: str, count: int, names: Sequence[str], labels: dict[str, str] | None, as_json: bool
) -> int:
    """Running copies of a running VM."""
    with parts.connect() as client:
        forks = client.vm(name).fork(max(count, len(names)), names=names, labels=labels)
    _tell(forks, as_json, f"{len(forks)} forks of {name} run")
    return 0


def clone(parts: Parts, name: str, new_name: str | None, start: bool, as_json: bool) -> int:
    """A new VM like a stopped one."""
    with parts.connect() as client:
        vm = client.vm(name).clone(new_name, start=start)
    _tell([vm], as_json, f"{vm.name} is a clone of {name}")
    return 0


def change(parts: Parts, name: str, changes: dict[str, Any], labels: Sequence[str], as_json: bool) -> int:
    """Change settings of a VM. A label without a value is taken away."""
    with parts.connect() as client:
        vm = client.vm(name)
        if labels:
            kept = dict(vm.info.labels)
            for text in labels:
                label, equals, value = text.partition("=")
                if equals:
                    kept[label] = value
                else:
                    kept.pop(label, None)
            changes["labels"] = kept
        if not changes:
            raise ConfigError("there is nothing to change", "see inn set --help")
        vm.update(**changes)
    _tell([vm], as_json, f"{vm.name} is changed")
    return 0


def wait(parts: Parts, name: str, state: WaitState, timeout_s: float) -> int:
    """Wait for a state of a VM."""
    with parts.connect() as client:
        client.vm(name).wait(state, timeout_s)
    return 0


def logs(parts: Parts, name: str, source: str, follow: bool) -> int:
    """Print what a guest printed on its console, or what its VMM had to say."""
    with parts.connect() as client:
        for data in client.vm(name).logs("vmm" if source == "vmm" else "console", follow=follow):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    return 0


def events(parts: Parts, after: int | None, follow: bool, as_json: bool) -> int:
    """Print what happened, and with `follow` what happens."""
    with parts.connect() as client:
        found = client.events(after) if follow else iter(client.past_events(after or 0))
        for event in found:
            if as_json:
                print(json.dumps(asdict(event)), flush=True)
                continue
            details = " ".join(f"{key}={value}" for key, value in event.data.items() if value != "")
            when = _time(event.time_ns)
            line = f"{event.number:>6}  {when}  {event.kind:<16} {event.name or '':<20} {visible(details)}"
            print(line.rstrip(), flush=True)
    return 0


def _time(time_ns: int) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(time_ns // 1_000_000_000).isoformat(" ")


def _tell(vms: Sequence[Vm], as_json: bool, message: str) -> None:
    """Names on stdout, so that scripts can take them; the message is for people."""
    if as_json:
        infos = [asdict(vm.info) for vm in vms]
        print_json(infos[0] if len(infos) == 1 else infos)
        return
    for vm in vms:
        print(vm.name)
    if sys.stderr.isatty():
        say(message)


def names_of_vms(client: Client, states: Sequence[VmState] = ()) -> list[str]:
    """For shell completion."""
    return [vm.name for vm in client.vms() if not states or vm.state in states]
