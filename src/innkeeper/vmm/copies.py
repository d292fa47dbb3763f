# SPDX-License-Identifier: Apache-2.0
"""Snapshots and forks of a running VM: what the methods `snapshot` and `fork` do.

Both wait for the machine to come to rest, so they are called by threads that do not hold its lock.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from innkeeper.api.vmm_protocol import VmmConfig
from innkeeper.errors import ConfigError, InnkeeperError
from innkeeper.vmm.guest import Guest
from innkeeper.vmm.guest_disks import FROZEN_ROOT

FORK_LIMIT = 256
Answer = Callable[[Mapping[str, Any] | InnkeeperError], None]


class Copies:
    """`become(config)` makes a forked child the VMM of another VM."""

    def __init__(self, guest: Guest, become: Callable[[VmmConfig], None]) -> None:
        self._guest = guest
        self._become = become
        self._children: set[int] = set()

    def snapshot(self, folder: Path, parent: Path | None, answer: Answer) -> None:
        """Write a snapshot to `folder` while the VM goes on; `answer` comes, lock held, when it is durable.

        Its result has `pause_ns`. Raises InnkeeperError if it cannot begin.
        """
        from innkeeper.machine.fork import LiveSnapshot, save_live

        guest = self._guest
        guest.disks.require_copyable()
        frozen = folder.with_name(f".{folder.name}.{os.getpid()}.root.part")
        clock = guest.clock
        times_ns = [clock.now_ns(), 0]

        def add_files(part: Path) -> Mapping[str, object]:
            if frozen.exists():
                os.rename(frozen, part / FROZEN_ROOT)
            return {"image": guest.config.image, "generation": guest.config.generation}

        def begin() -> LiveSnapshot:
            guest.disks.freeze(frozen)
            live = save_live(guest.machine, folder, parent, add_files)
            times_ns[1] = clock.now_ns()
            return live

        try:
            live = guest.machine.at_rest(begin)
        except BaseException:
            _remove(frozen)
            raise
        pause_ns = times_ns[1] - times_ns[0]
        loop = guest.machine.io

        def done() -> None:
            loop.remove_reader(live.fileno())
            try:
                info = live.finish()
            except InnkeeperError as error:
                _remove(frozen)
                answer(error)
                return
            result = {"pause_ns": pause_ns, "digest": info.digest, "stored_bytes": info.stored_bytes}
            answer(result)

        with guest.machine.lock:
            loop.add_reader(live.fileno(), done)

    def fork(self, configs: Sequence[VmmConfig]) -> Mapping[str, Any]:
        """Running copies of the VM, one for each configuration; gives their `pids`, in order, and `pause_ns`.

        Raises InnkeeperError if one cannot be had; those made before it run.
        """
        from innkeeper.machine.fork import fork

        guest = self._guest
        if not 0 < len(configs) <= FORK_LIMIT:
            raise ConfigError(f"{len(configs)} forks at once cannot be had", f"ask for 1 to {FORK_LIMIT}")
        guest.disks.require_copyable()
        _load_what_children_need(configs)
        for config in configs:
            _require_same_shape(guest.config, config)
        begin_ns = guest.clock.now_ns()

        pids: list[int] = []

        def make() -> None:
            for config in configs:
                if config.root_overlay is not None:
                    guest.disks.freeze(Path(config.root_overlay))
            try:
                number = fork(guest.machine, len(configs), pids)
            finally:
                self._children.update(pids)
            if number is not None:
                self._children.clear()
                self._become(configs[number])

        guest.machine.at_rest(make)
        return {"pids": pids, "pause_ns": guest.clock.now_ns() - begin_ns}

    def reap(self) -> None:
        """Take note of forks that have ended: they are children of this process, and nobody else's care."""
        for pid in tuple(self._children):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            self._children.discard(pid)


def _load_what_children_need(configs: Sequence[VmmConfig]) -> None:
    """Modules that are loaded before a fork are shared; each child that loads them has its own copy."""
    if any(network == "user" for config in configs for network in config.networks or ("user",)):
        importlib.import_module("innkeeper.network.nat")
    importlib.import_module("innkeeper.vmm.readdress")


def _require_same_shape(here: VmmConfig, other: VmmConfig) -> None:
    """A fork has the devices and the memory of what it is a copy of."""
    for name in ("cpus", "memory_bytes", "image", "kernel", "disks"):
        if getattr(here, name) != getattr(other, name):
            raise ConfigError(f"a fork has the same {name} as its origin", "change it after a stop")
    if len(here.mac_addresses) != len(other.mac_addresses):
        raise ConfigError("a fork has as many network cards as its origin", "give as many addresses")
    if (here.root_overlay is None) != (other.root_overlay is None):
        raise ConfigError("a fork needs a root overlay of its own", "give its path")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
