# SPDX-License-Identifier: Apache-2.0
"""Runs the guests that images are built in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from innkeeper.errors import HostError
from innkeeper.images import GuestJob
from innkeeper.machine.boot import BootConfig
from innkeeper.machine.machine import MachineConfig
from innkeeper.vmm import session as vm
from innkeeper.vmm.disks import DiskSpec, open_disks
from innkeeper.vmm.engine_choice import ReportProgress, choose_engine


class GuestJobRunner:
    """Satisfies `images.GuestRunner`: one command in a guest that writes to the job's disks themselves."""

    def __init__(self, engine: str = "auto", progress: ReportProgress | None = None) -> None:
        self._engine = engine
        self._progress = progress

    def run(self, job: GuestJob, on_output: Callable[[bytes], None]) -> int:
        """See `images.GuestRunner.run`; `on_output` is called from two threads, for stdout and stderr."""
        failures: list[str] = []

        def fail(message: str) -> None:
            """A disk with a hole in it is no image: nothing is gained by going on."""
            failures.append(message)
            session.machine.stop(message)

        with contextlib.ExitStack() as stack:
            disks = open_disks(None, [DiskSpec(disk.path, disk.read_only) for disk in job.disks], stack)
            config = vm.SessionConfig(
                MachineConfig(BootConfig(job.kernel, (job.initrd,), job.append), 1, job.memory_bytes),
                choose_engine(self._engine, self._progress),
                disks,
                stop_at_panic=True,
                on_warning=fail,
            )
            session = stack.enter_context(vm.Session(config))
            session.connect_output(vm.STDOUT, on_output)
            session.connect_output(vm.STDERR, on_output)
            session.connect_stdin(None)
            ended = session.run()
            if failures:
                raise HostError(failures[0])
            return vm.require_status(ended)
