# SPDX-License-Identifier: Apache-2.0
"""Routes of VMs' networks. Captures are WebSockets, see `streams`."""

from __future__ import annotations

from fastapi import APIRouter

from innkeeper.api import models
from innkeeper.hypervisor import networks
from innkeeper.hypervisor.http.parameters import VmOfPath

router = APIRouter(prefix="/v1/vms", tags=["Networks"])


@router.get("/{vm}/network")
async def get_network(vm: VmOfPath) -> models.NetworkStatus:
    """The network of a running VM: adapters and what has crossed them, open ports, what was refused."""
    return await networks.status(vm)
