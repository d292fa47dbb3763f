# SPDX-License-Identifier: Apache-2.0
"""Parameters that many routes have."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le, MaxLen
from fastapi import Depends, Path, Query
from starlette.requests import HTTPConnection

from innkeeper.api.constraints import Reference
from innkeeper.hypervisor.hypervisor import Hypervisor
from innkeeper.hypervisor.vm import Vm

WAIT_MAX_S = 60


def _hypervisor(connection: HTTPConnection) -> Hypervisor:
    hypervisor: Hypervisor = connection.app.state.hypervisor
    return hypervisor


Owner = Annotated[Hypervisor, Depends(_hypervisor)]


def _vm(hypervisor: Owner, vm: Annotated[Reference, Path(description="A VM's name or id.")]) -> Vm:
    return hypervisor.find(vm)


VmOfPath = Annotated[Vm, Depends(_vm)]
WaitSeconds = Annotated[
    float,
    Ge(0),
    Le(WAIT_MAX_S),
    Query(description="Answer when the operation has ended, or after this time."),
]
LabelFilter = Annotated[
    list[Annotated[str, MaxLen(320)]],
    MaxLen(16),
    Query(description="Only VMs with this label: `name` or `name=value`."),
]
After = Annotated[int, Ge(0), Le(1 << 62), Query(description="Only events with a greater number.")]
Limit = Annotated[int, Ge(1), Le(1000), Query(description="How many at most.")]
