# SPDX-License-Identifier: Apache-2.0
"""`inn cp`: files and folders between this host and running guests."""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from innkeeper.cli.failures import say
from innkeeper.cli.parts import Parts
from innkeeper.cli.progress import ProgressDisplay
from innkeeper.cli.sizes import format_size
from innkeeper.cli.vms import print_json
from innkeeper.errors import ConfigError

if TYPE_CHECKING:
    from innkeeper.client.sync import Vm

_GUEST = re.compile(r"([a-z0-9][a-z0-9-]*):(.*)", re.DOTALL)
HOME = "/root"
"""Where paths in guests that do not begin with / are taken from."""


@dataclass(frozen=True)
class Job:
    """What is to be copied: `sources` into the VM `vm`, or out of it."""

    vm: str
    sources: tuple[str, ...]
    target: str
    into_guest: bool


@dataclass
class Copied:
    """What went."""

    files: int = 0
    bytes: int = 0


def parse(sources: Sequence[str], target: str) -> Job:
    """Read SOURCE... TARGET. ConfigError unless one side is one VM's, and the other this host's."""
    to = _GUEST.fullmatch(target)
    found = [_GUEST.fullmatch(source) for source in sources]
    if to is not None and not any(found):
        return Job(to[1], tuple(sources), _absolute(to[2]), True)
    vms = {match[1] for match in found if match is not None}
    if to is None and all(found) and len(vms) == 1:
        paths = tuple(_absolute(match[2]) for match in found if match is not None)
        return Job(vms.pop(), paths, target, False)
    remedy = "inn cp FILE VM:PATH, or inn cp VM:PATH FILE; write ./a:b for a file here with a colon"
    raise ConfigError("a copy goes from this host to one VM, or back", remedy)


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"{HOME}/{path}"


def copy(parts: Parts, job: Job, recursive: bool, as_json: bool) -> int:
    """Copy, and say how much."""
    copied = Copied()
    with parts.connect() as client, ProgressDisplay() as progress:
        vm = client.vm(job.vm)
        if job.into_guest:
            _put_all(vm, job, recursive, copied, progress)
        else:
            _get_all(vm, job, recursive, copied, progress)
    if as_json:
        print_json({"files": copied.files, "bytes": copied.bytes})
    else:
        say(f"copied {copied.files} file{'s' * (copied.files != 1)}, {format_size(copied.bytes)}")
    return 0


def _put_all(vm: Vm, job: Job, recursive: bool, copied: Copied, progress: ProgressDisplay) -> None:
    is_folder = job.target.endswith("/") or _is_folder(vm, job.target)
    if len(job.sources) > 1 and not is_folder:
        raise ConfigError(f"{job.target} is no folder in the guest", "name one for several files")
    for source in job.sources:
        path = Path(source)
        name = path.name or path.resolve().name
        target = f"{job.target.rstrip('/')}/{name}" if is_folder else job.target
        if recursive and path.is_dir():
            from innkeeper.cli.copy_trees import put_tree

            put_tree(vm, path, target, copied, progress)
            continue
        vm.put(path, target, on_bytes=lambda done, total, name=name: progress.report(name, done, total))  # type: ignore[misc]
        copied.files += 1
        copied.bytes += path.stat().st_size


def _get_all(vm: Vm, job: Job, recursive: bool, copied: Copied, progress: ProgressDisplay) -> None:
    target = Path(job.target)
    if len(job.sources) > 1 and not target.is_dir():
        raise ConfigError(f"{target} is no folder", "name one for several files")
    for source in job.sources:
        name = source.rstrip("/").rpartition("/")[2] or "root"
        if recursive and _is_folder(vm, source):
            from innkeeper.cli.copy_trees import get_tree

            get_tree(vm, source, target / name if target.is_dir() else target, copied, progress)
            continue
        where = vm.get(
            source,
            target,
            on_bytes=lambda done, total, name=name: progress.report(name, done, total),  # type: ignore[misc]
        )
        copied.files += 1
        copied.bytes += where.stat().st_size


def _is_folder(vm: Vm, path: str) -> bool:
    """Whether the guest has a folder there, perhaps by way of a symbolic link."""
    try:
        return stat.S_ISDIR(vm.file_status(f"{path.rstrip('/')}/.").mode)
    except ConfigError:
        return False
