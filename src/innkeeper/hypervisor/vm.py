# SPDX-License-Identifier: Apache-2.0
"""`Vm`: one VM of the hypervisor from start to end, and again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

from innkeeper.api import models
from innkeeper.api.problems import ConflictError
from innkeeper.api.vmm_protocol import VmStatus
from innkeeper.errors import HostError, InnkeeperError
from innkeeper.hypervisor import own_disks
from innkeeper.hypervisor.changes import put_vm
from innkeeper.hypervisor.children import Process
from innkeeper.hypervisor.configs import vmm_config
from innkeeper.hypervisor.ends import STEADY_NS, End, restart_delay_s
from innkeeper.hypervisor.records import NewEvent, VmRecord
from innkeeper.hypervisor.services import Services
from innkeeper.hypervisor.vmm import Vmm, find_vmm

KILL_AFTER_S = 10.0
"""A VMM that is told to end at once is killed after this."""
FORK_ADOPTION_STEPS, FORK_ADOPTION_STEP_S = 20, 0.1
"""How long a VMM that has been forked may need to answer a hypervisor that has just started."""
_VMM_STATES: dict[str, models.VmState] = {
    "booting": "running",
    "running": "running",
    "paused": "paused",
    "stopping": "stopping",
    "ended": "stopping",
}


class Vm:
    """What is wanted of a VM (`record`), how it is (`state`, `ready`), and what leads from one to the other.

    `start`, `stop` and the like are done one after the other, by `lock`.
    """

    def __init__(self, services: Services, record: VmRecord) -> None:
        self._services = services
        self.record = record
        self.state: models.VmState = "crashed" if record.crashed else "stopped"
        self.ready = False
        self.status: VmStatus | None = None
        self.lock = asyncio.Lock()
        self._record_lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._vmm: Vmm | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._restart: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def is_active(self) -> bool:
        """Whether it has a VMM, whatever that is doing."""
        return self._vmm is not None

    async def update(self, *kinds: str, data: Mapping[str, Any] | None = None, **values: Any) -> None:
        """Change fields of the record, durably, with an event for each of `kinds`."""
        async with self._record_lock:
            record = replace(self.record, **values)
            events = [NewEvent(kind=kind, vm=self.id, name=record.name, data=data or {}) for kind in kinds]
            await self._services.commit(put_vm(record), events=events)
            self.record = record
        self._tell()

    async def start(self) -> None:
        """Start it, unless it runs. Returns once its VMM answers; HostError, with the reason, if it ends."""
        async with self.lock:
            await self._start()

    async def _start(self) -> None:
        self._cancel_restart()
        if self._vmm is not None:
            if self.state == "stopping":
                raise ConflictError(f"{self.record.name} is being stopped", "wait until it has ended")
            await self.update(desired="running")
            return
        self._set_state("starting")
        try:
            await self.update(desired="running", crashed=False, reason="", ended_ns=None)
            await self._prepare_disks()
            config = vmm_config(self._services.places, self.record)
            vmm = await Vmm.start(self._services, config)
        except BaseException:
            self._set_state("crashed" if self.record.crashed else "stopped")
            raise
        supervision = self._supervise(vmm)
        await self._record_process(vmm.process)
        await self._run(vmm, supervision)

    async def _record_process(self, process: Process) -> None:
        await self.record_processes(self._services, [(self, process)])

    async def _run(self, vmm: Vmm, supervision: asyncio.Task[None]) -> None:
        """Wait until `vmm` answers; its end is told only after its supervision has recorded it."""
        try:
            await self._connected(vmm)
        except HostError:
            await asyncio.wait([supervision])
            if self.record.restore_from is not None:
                await self._give_disks_back()
            raise

    async def _connected(self, vmm: Vmm) -> None:
        self._learn(await vmm.connect())
        if self.record.restore_from is not None:
            await self.update("restored", data={"snapshot": self.record.restore_from}, restore_from=None)
            await asyncio.to_thread(own_disks.forget, self._services.places.vm(self.id))
        self._services.spawn(self._listen(vmm), f"events of {self.id}")

    async def _prepare_disks(self) -> None:
        """A VM that goes on from a snapshot gets the disks of that; its own are kept until it runs."""
        if self.record.restore_from is not None:
            await asyncio.to_thread(own_disks.set_aside, self._services.places.vm(self.id))

    async def _give_disks_back(self) -> None:
        """The snapshot cannot be restored: the VM is as it was before, and starts from its own disks."""
        await asyncio.to_thread(own_disks.bring_back, self._services.places.vm(self.id))
        await self.update(restore_from=None)

    async def adopt(self, taken: Container[int]) -> bool:
        """Take on the VMM that another hypervisor left; False if there is none, and its end is recorded.

        `taken`: pids of the VMMs of other VMs.
        """
        known = None
        if self.record.pid is not None:
            known = Process(self.record.pid, self.record.process_start_ticks or 0)
            if self.record.boot_id != self._services.boot_id:
                await self._finish(End(False, "the host was restarted"), ran_ns=0)
                return False
            if not known.is_alive():
                await self._finish(await Vmm(self._services, self.id, known).ended, ran_ns=0)
                return False
        process = known
        if process is None and self.record.desired == "running":
            process = await find_vmm(self._services, self.id, taken)
        if process is None:
            await self._not_adopted()
            return False
        await self._take_on(process)
        return True

    async def _not_adopted(self) -> None:
        """It has no VMM. It should have one if it was being started, or was to be started again."""
        if self.record.desired == "running":
            end = End(self.record.crashed, self.record.reason)
            if self.record.ended_ns is None:
                end = End(True, "the hypervisor ended while the VM was being started")
            await self._finish(end, ran_ns=0)

    async def _take_on(self, process: Process) -> None:
        vmm = Vmm(self._services, self.id, process)
        self._set_state("starting")
        self._supervise(vmm)
        if self.record.pid != process.pid:
            await self._record_process(process)
        self._services.spawn(self._adopted(vmm), f"adoption of {self.id}")

    async def _adopted(self, vmm: Vmm) -> None:
        with contextlib.suppress(InnkeeperError):
            async with self.lock:
                await self._connected(vmm)
                await self._services.commit(events=[self._event("adopted")])
            if self.record.desired == "stopped":
                await self.stop(force=False, timeout_s=30)

    async def begin_fork(self, process: Process) -> None:
        """Take on the VMM that a fork has made; `record_processes` follows. HostError if it ended at once."""
        async with self.lock:
            self._set_state("starting")
            vmm = Vmm(self._services, self.id, process)
            await self._run(vmm, self._supervise(vmm))

    @staticmethod
    async def record_processes(services: Services, started: Sequence[tuple[Vm, Process]]) -> None:
        """Record the VMMs of VMs, all in one transaction: to sync one by one takes long for many forks."""
        async with contextlib.AsyncExitStack() as stack:
            for vm, _ in started:
                await stack.enter_async_context(vm._record_lock)
            records = {
                vm: vm._with_process(process) if vm.is_active else replace(vm.record, phase="ready")
                for vm, process in started
            }
            events = [vm._event("started") for vm in records]
            await services.commit(*map(put_vm, records.values()), events=events)
            for vm, record in records.items():
                vm.record = record
        for vm in records:
            vm._tell()

    def _with_process(self, process: Process) -> VmRecord:
        return replace(
            self.record,
            phase="ready",
            pid=process.pid,
            process_start_ticks=process.start_ticks,
            boot_id=self._services.boot_id,
            started_ns=self._services.clock.wall_ns(),
        )

    async def adopt_fork(self) -> bool:
        """As `adopt`, for a VM whose fork was not yet acknowledged: False if it never came to run."""
        for _ in range(FORK_ADOPTION_STEPS):
            process = await find_vmm(self._services, self.id, ())
            if process is not None:
                await self.update(phase="ready")
                await self._take_on(process)
                return True
            await self._services.sleep(FORK_ADOPTION_STEP_S)
        return False

    async def stop(self, *, force: bool, timeout_s: float) -> None:
        """Ask the guest to power off, and end the VMM after `timeout_s`; at once with `force`.

        A VMM that does not answer yet has nothing to lose, and is ended at once.
        """
        if self.state == "starting" and self._vmm is not None:
            await self.update(desired="stopped")
            if self._vmm is not None:
                self._vmm.kill()
        async with self.lock:
            self._cancel_restart()
            vmm, supervision = self._vmm, self._supervision
            if vmm is None or supervision is None:
                await self.update(desired="stopped", restarts=0)
                return
            self._set_state("stopping")
            await self.update("stopping", desired="stopped", restarts=0)
            if not force:
                await self._ask_to_stop(vmm, force=False)
                await asyncio.wait([supervision], timeout=timeout_s)
            if not supervision.done():
                await self._ask_to_stop(vmm, force=True)
                await asyncio.wait([supervision], timeout=KILL_AFTER_S)
            if not supervision.done():
                vmm.kill()
                await asyncio.wait([supervision])

    async def _ask_to_stop(self, vmm: Vmm, *, force: bool) -> None:
        try:
            await vmm.call("stop", {"force": force}, timeout_s=KILL_AFTER_S)
        except InnkeeperError:
            if force:
                vmm.kill()

    async def pause(self) -> None:
        """ConflictError unless it runs."""
        await self._switch("pause", "paused")

    async def resume(self) -> None:
        """ConflictError unless it is paused."""
        await self._switch("resume", "running")

    async def _switch(self, method: str, state: models.VmState) -> None:
        async with self.lock:
            if self.state == state:
                return
            await self.call(method)
            self._set_state(state)
            await self._services.commit(events=[self._event(state)])

    async def call(
        self, method: str, params: Mapping[str, Any] | None = None, timeout_s: float = 30
    ) -> dict[str, Any]:
        """Ask its VMM something. ConflictError if it does not run."""
        return await self.running_vmm().call(method, params, timeout_s)

    def running_vmm(self) -> Vmm:
        """Its VMM. ConflictError if it does not run or pause."""
        if self._vmm is None or self.state not in ("running", "paused"):
            raise ConflictError(
                f"{self.record.name} is {self.state}", f"start it: inn start {self.record.name}"
            )
        return self._vmm

    async def refresh(self) -> None:
        """Ask its VMM for its status."""
        if self._vmm is not None and self.state in ("running", "paused"):
            with contextlib.suppress(InnkeeperError):
                self._learn(await self._vmm.status())

    async def wait_for(self, reached: Callable[[Vm], bool], timeout_s: float) -> bool:
        """Return True once `reached` holds, False after `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not reached(self):
                    await self._changed.wait()
        return reached(self)

    async def release(self) -> None:
        """Let go of the VMM, which goes on."""
        self._cancel_restart()
        if self._vmm is not None:
            await self._vmm.release()

    def _learn(self, status: VmStatus) -> None:
        if self._vmm is None or status.pid != self._vmm.process.pid:
            return
        self.status = status
        if self.state != "stopping":
            self.state = _VMM_STATES[status.state]
        self.ready = status.ready
        self._tell()

    async def _listen(self, vmm: Vmm) -> None:
        """Follow what the VMM tells until it goes."""
        with contextlib.suppress(InnkeeperError):
            async for event in vmm.events():
                kind = str(event["event"])[:64]
                await self._hear(vmm, kind, {k: v for k, v in event.items() if k != "event"})

    async def _hear(self, vmm: Vmm, kind: str, data: dict[str, Any]) -> None:
        if kind == "ended":
            return  # recorded when the process is gone
        if kind != "warning":
            with contextlib.suppress(InnkeeperError):
                self._learn(await vmm.status())
        if kind in ("ready", "warning"):
            await self._services.commit(events=[self._event(kind, data)])

    def _supervise(self, vmm: Vmm) -> asyncio.Task[None]:
        self._vmm = vmm
        self._supervision = self._services.spawn(self._until_end(vmm), f"supervision of {self.id}")
        return self._supervision

    async def _until_end(self, vmm: Vmm) -> None:
        try:
            end = await asyncio.shield(vmm.ended)
        finally:
            await vmm.release()
        self._vmm = None
        await self._finish(end, ran_ns=self._services.clock.wall_ns() - (self.record.started_ns or 0))

    async def _finish(self, end: End, ran_ns: int) -> None:
        """Record an end, and plan a start if the policy says so. What was to be stopped has not crashed."""
        wanted = self.record.desired == "running"
        restarts = 0 if ran_ns > STEADY_NS else self.record.restarts
        delay_s = restart_delay_s(self.record.settings.restart, end, restarts) if wanted else None
        crashed = end.crashed and wanted
        state: models.VmState = "crashed" if crashed else "stopped"
        self.ready, self.status = False, None
        try:
            await self.update(
                state,
                data={"reason": end.reason},
                desired="stopped" if delay_s is None else "running",
                crashed=crashed,
                reason=end.reason,
                pid=None,
                process_start_ticks=None,
                ended_ns=self._services.clock.wall_ns(),
            )
        finally:
            # Not before: who sees the state also wants to see the reason.
            self._set_state(state)
        if delay_s is not None:
            self._restart = self._services.spawn(
                self._start_again(delay_s, restarts + 1), f"restart of {self.id}"
            )

    async def _start_again(self, delay_s: float, restarts: int) -> None:
        await self._services.sleep(delay_s)
        self._restart = None
        async with self.lock:
            if self._vmm is None and self.record.desired == "running":
                await self.update("restarting", restarts=restarts)
                with contextlib.suppress(InnkeeperError):
                    await self._start()

    def _cancel_restart(self) -> None:
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None

    def _set_state(self, state: models.VmState) -> None:
        self.state = state
        self._tell()

    def _tell(self) -> None:
        """Wake whoever waits for a state."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _event(self, kind: str, data: Mapping[str, Any] | None = None) -> NewEvent:
        return NewEvent(kind=kind, vm=self.id, name=self.record.name, data=data or {})
