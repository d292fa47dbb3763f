# SPDX-License-Identifier: Apache-2.0
"""VMs as the API shows them."""

from __future__ import annotations

from innkeeper.api import models
from innkeeper.hypervisor.vm import Vm


def view(vm: Vm) -> models.Vm:
    """What clients are told of `vm`."""
    record, settings = vm.record, vm.record.settings
    status = vm.status
    return models.Vm(
        id=record.id,
        name=record.name,
        state=vm.state,
        ready=vm.ready,
        reason=record.reason,
        image=settings.image,
        kernel=settings.kernel,
        initrd=settings.initrd,
        append=settings.append,
        firmware=settings.firmware,
        engine=settings.engine,
        cpus=settings.cpus,
        memory_bytes=settings.memory_bytes,
        disks=settings.disks,
        network=settings.network,
        labels=settings.labels,
        restart=settings.restart,
        autostart=settings.autostart,
        restarts=record.restarts,
        mac_address=record.mac_address,
        generation=record.generation,
        origin=record.origin,
        created_ns=record.created_ns,
        started_ns=record.started_ns,
        ended_ns=record.ended_ns,
        pid=record.pid,
        resident_bytes=status.resident_bytes if status else None,
        instructions=status.instructions if status else None,
    )
