# SPDX-License-Identifier: Apache-2.0
"""What both clients make requests of, and make of answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from innkeeper.api import models
from innkeeper.api.problems import error_of
from innkeeper.errors import ConfigError, HostError, InnkeeperError


def create_request(image: str | None, settings: Mapping[str, Any]) -> models.VmCreate:
    """ConfigError for a setting that there is not. Disks may be paths, with `,ro` at the end, and `network` a
    mapping."""
    _check_names(models.VmCreate, settings)
    request = models.VmCreate(image=image, **settings)
    network = request.network
    if not isinstance(network, models.NetworkSettings):
        network = models.NetworkSettings(**_known(models.NetworkSettings, network))
    request = replace(request, network=network)
    return replace(request, disks=[_disk(disk) for disk in request.disks], labels=dict(request.labels))


def update_request(changes: Mapping[str, Any]) -> models.VmUpdate:
    """ConfigError for a setting that there is not."""
    _check_names(models.VmUpdate, changes)
    request = models.VmUpdate(**changes)
    network = request.network
    if network is not None and not isinstance(network, models.NetworkUpdate):
        request = replace(request, network=models.NetworkUpdate(**_known(models.NetworkUpdate, network)))
    return request


def _known(cls: type, given: object) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ConfigError("the settings of a network are no mapping", "give adapters, ports and the like")
    _check_names(cls, given)
    return dict(given)


def _check_names(cls: type, given: Mapping[str, Any]) -> None:
    known = {item.name for item in fields(cls)}
    for name in given:
        if name not in known:
            raise ConfigError(f"a VM has no setting '{name}'", f"choose of {', '.join(sorted(known))}")


def _disk(disk: models.Disk | str) -> models.Disk:
    if isinstance(disk, models.Disk):
        return disk
    path, _, option = disk.partition(",")
    if option not in ("", "ro"):
        raise ConfigError(f"'{disk}' does not name a disk", "write FILE, or FILE,ro to keep it as it is")
    return models.Disk(path=path, read_only=option == "ro")


def finish_error(operation: models.Operation) -> InnkeeperError:
    """The error of an operation that failed."""
    if operation.problem is None:
        return HostError(f"{operation.kind} of {operation.target} failed")
    return error_of(operation.problem)


def reached(vm: models.Vm, state: models.WaitState, timeout_s: float, *, is_over: bool) -> bool:
    """Whether `vm` is in `state`. HostError if it will not be, or if the time `is_over`."""
    over = vm.state in ("stopped", "crashed")
    wanted = {"ended": over, "ready": vm.ready and vm.state == "running"}
    if wanted.get(state, vm.state == state):
        return True
    if over:
        why = f": {vm.reason}" if vm.reason else ""
        raise HostError(f"{vm.name} is {vm.state}{why}", f"see inn logs {vm.name}")
    if is_over:
        raise HostError(f"{vm.name} is not {state} after {timeout_s:g} s, but {vm.state}", "wait longer")
    return False
