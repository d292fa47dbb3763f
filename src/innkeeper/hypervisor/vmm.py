# SPDX-License-Identifier: Apache-2.0
"""`Vmm`: one VMM process that runs, and the connections to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Container, Mapping
from pathlib import Path
from typing import Any

from innkeeper.api.vmm_protocol import CONFIG_FILE, ENDED_FILE, VmmConfig, VmStatus
from innkeeper.errors import ConfigError, HostError
from innkeeper.hypervisor.children import Process, find_process
from innkeeper.hypervisor.ends import End, end_of
from innkeeper.hypervisor.folders import write_file
from innkeeper.hypervisor.links import VmmLink, events_of
from innkeeper.hypervisor.services import Services

_ATTEMPT_FIRST_S, _ATTEMPT_LAST_S = 0.004, 0.1


class Vmm:
    """Made by `start` and `find`; then `ended` says how it ended, once it has."""

    def __init__(self, services: Services, vm_id: str, process: Process) -> None:
        self._services = services
        self._socket = services.places.control_socket(vm_id)
        self._folder = services.places.vm(vm_id)
        self._link: VmmLink | None = None
        self.vm_id = vm_id
        self.process = process
        self.ended: asyncio.Task[End] = asyncio.get_running_loop().create_task(
            self._watch(), name=f"vmm {vm_id}"
        )

    @classmethod
    async def start(cls, services: Services, config: VmmConfig) -> Vmm:
        """Start a process for `config`; it does not yet answer. HostError if that cannot be done."""
        folder = services.places.vm(config.id)
        await asyncio.to_thread(_prepare, folder, config)
        command = [*services.vmm_command, str(folder / CONFIG_FILE)]
        return cls(services, config.id, services.children.start(command, folder / "vmm.log"))

    async def connect(self) -> VmStatus:
        """Wait until it answers; its first status. HostError, with its reason, if it ends before."""
        wait_s = _ATTEMPT_FIRST_S
        while True:
            status = await self._try_connect()
            if status is not None:
                return status
            if self.ended.done():
                raise HostError(
                    f"the VM did not start: {self.ended.result().reason}", "see inn logs --source vmm"
                )
            await asyncio.wait([self.ended], timeout=wait_s)
            wait_s = min(wait_s * 1.5, _ATTEMPT_LAST_S)

    async def call(
        self, method: str, params: Mapping[str, Any] | None = None, timeout_s: float = 30
    ) -> dict[str, Any]:
        """Ask it something; raises its error, or HostError if it does not answer."""
        if self._link is None:
            raise HostError("the VMM does not answer yet", "wait until the VM runs")
        return await self._link.call(method, params, timeout_s)

    async def status(self) -> VmStatus:
        """Its state now."""
        return VmStatus.from_json(await self.call("status", timeout_s=10))

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """What it tells, until it goes."""
        async for event in events_of(self._socket):
            yield event

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    async def release(self) -> None:
        """Close the connections; the process goes on if it does."""
        self.ended.cancel()
        if self._link is not None:
            await self._link.close()
            self._link = None

    async def _try_connect(self) -> VmStatus | None:
        try:
            link = await VmmLink.connect(self._socket)
        except OSError:
            return None
        try:
            status = VmStatus.from_json(await link.call("status", timeout_s=10))
        except (HostError, ConfigError):
            await link.close()
            return None
        if (status.id, status.pid) != (self.vm_id, self.process.pid):
            await link.close()
            return None
        self._link = link
        return status

    async def _watch(self) -> End:
        status = await self._services.children.wait(self.process)
        end = await asyncio.to_thread(end_of, self._folder, self.process, status)
        self._socket.unlink(missing_ok=True)
        return end


async def find_vmm(services: Services, vm_id: str, taken: Container[int]) -> Process | None:
    """The VMM that answers for a VM, or one that was started for it and does not answer yet.

    `taken`: pids of the VMMs of other VMs. A fork has the command line of the VMM that it was forked from.
    """
    status = await _status_at(services.places.control_socket(vm_id), vm_id)
    if status is not None:
        return Process(status.pid, status.process_start_ticks)
    config = str(services.places.vm(vm_id) / CONFIG_FILE)
    return await asyncio.to_thread(find_process, config, taken)


def _prepare(folder: Path, config: VmmConfig) -> None:
    try:
        (folder / ENDED_FILE).unlink(missing_ok=True)
        Path(config.control_socket).unlink(missing_ok=True)
        write_file(folder / CONFIG_FILE, json.dumps(config.to_json(), indent=1).encode())
    except OSError as error:
        remedy = "free some space; if the VM's folder is gone, remove the VM: inn rm"
        raise HostError(f"cannot write to {folder}: {error.strerror or error}", remedy) from error


async def _status_at(socket: Path, vm_id: str) -> VmStatus | None:
    """The status of the VMM that answers at `socket`, if it is of that VM."""
    try:
        link = await VmmLink.connect(socket)
    except OSError:
        return None
    try:
        status = VmStatus.from_json(await link.call("status", timeout_s=10))
    except (HostError, ConfigError):
        return None
    finally:
        with contextlib.suppress(OSError):
            await link.close()
    return status if status.id == vm_id else None
