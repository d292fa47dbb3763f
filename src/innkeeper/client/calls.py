# SPDX-License-Identifier: Apache-2.0
"""Every request of the API, once, for both clients. A test holds them against the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote, urlencode

from innkeeper.api import models
from innkeeper.api.decode import decode
from innkeeper.errors import HostError

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request. `name` is its operation id; `body` is sent as JSON; `read` makes the answer of it."""

    name: str
    method: str
    path: str
    read: Callable[[Any], T]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None

    @property
    def target(self) -> str:
        """Path and query as they are sent; what is None is left out."""
        pairs = [(key, _text(value)) for key, value in self.query.items() if value is not None]
        flat = [
            (key, item) for key, value in pairs for item in (value if isinstance(value, list) else [value])
        ]
        return f"{self.path}?{urlencode(flat)}" if flat else self.path

    @property
    def json(self) -> Any:
        """The body as plain data."""
        return asdict(self.body) if is_dataclass(self.body) and not isinstance(self.body, type) else self.body


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return [str(item) for item in value] if isinstance(value, list | tuple) else str(value)


def _one(cls: type[T]) -> Callable[[Any], T]:
    return lambda data: decode(cls, data)


def _many(cls: type[T]) -> Callable[[Any], list[T]]:
    def read(data: Any) -> list[T]:
        if not isinstance(data, list):
            raise HostError("the hypervisor's answer is no list", "use the same version of both")
        return [decode(cls, item) for item in data]

    return read


def path_of(*parts: str) -> str:
    """A path below the API's root, its parts quoted."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def _operation(
    name: str, *path: str, body: Any = None, method: str = "POST", **query: Any
) -> Call[models.Operation]:
    return Call(name, method, path_of(*path), _one(models.Operation), query, body)


def get_info() -> Call[models.Info]:
    return Call("get_info", "GET", path_of("info"), _one(models.Info))


def stop_hypervisor() -> Call[models.Info]:
    return Call("stop_hypervisor", "POST", path_of("stop"), _one(models.Info))


def list_vms(labels: Sequence[str]) -> Call[list[models.Vm]]:
    return Call("list_vms", "GET", path_of("vms"), _many(models.Vm), {"label": list(labels)})


def create_vm(request: models.VmCreate, wait_s: float) -> Call[models.Operation]:
    return _operation("create_vm", "vms", body=request, wait_s=wait_s)


def get_vm(vm: str) -> Call[models.Vm]:
    return Call("get_vm", "GET", path_of("vms", vm), _one(models.Vm))


def update_vm(vm: str, request: models.VmUpdate) -> Call[models.Vm]:
    return Call("update_vm", "PATCH", path_of("vms", vm), _one(models.Vm), body=request)


def remove_vm(vm: str, force: bool, wait_s: float) -> Call[models.Operation]:
    return _operation("remove_vm", "vms", vm, method="DELETE", force=force, wait_s=wait_s)


def start_vm(vm: str, wait_s: float) -> Call[models.Operation]:
    return _operation("start_vm", "vms", vm, "start", wait_s=wait_s)


def stop_vm(vm: str, request: models.VmStop, wait_s: float) -> Call[models.Operation]:
    return _operation("stop_vm", "vms", vm, "stop", body=request, wait_s=wait_s)


def restart_vm(vm: str, request: models.VmStop, wait_s: float) -> Call[models.Operation]:
    return _operation("restart_vm", "vms", vm, "restart", body=request, wait_s=wait_s)


def pause_vm(vm: str, wait_s: float) -> Call[models.Operation]:
    return _operation("pause_vm", "vms", vm, "pause", wait_s=wait_s)


def resume_vm(vm: str, wait_s: float) -> Call[models.Operation]:
    return _operation("resume_vm", "vms", vm, "resume", wait_s=wait_s)


def clone_vm(vm: str, request: models.VmClone, wait_s: float) -> Call[models.Operation]:
    return _operation("clone_vm", "vms", vm, "clone", body=request, wait_s=wait_s)


def fork_vm(vm: str, request: models.VmFork, wait_s: float) -> Call[models.Operation]:
    return _operation("fork_vm", "vms", vm, "fork", body=request, wait_s=wait_s)


def wait_vm(vm: str, state: models.WaitState, timeout_s: float) -> Call[models.Vm]:
    query = {"state": state, "timeout_s": timeout_s}
    return Call("wait_vm", "GET", path_of("vms", vm, "wait"), _one(models.Vm), query)


def read_logs(vm: str, source: models.LogSource, tail_bytes: int, follow: bool) -> Call[bytes]:
    """Its answer is bytes, read as they come."""
    query = {"source": source, "tail_bytes": tail_bytes, "follow": follow}
    return Call("read_logs", "GET", path_of("vms", vm, "logs"), lambda data: cast(bytes, data), query)


def get_network(vm: str) -> Call[models.NetworkStatus]:
    return Call("get_network", "GET", path_of("vms", vm, "network"), _one(models.NetworkStatus))


def get_file(vm: str, path: str) -> Call[models.GuestFile]:
    return Call("get_file", "GET", path_of("vms", vm, "files"), _one(models.GuestFile), {"path": path})


def take_snapshot(vm: str, request: models.SnapshotCreate, wait_s: float) -> Call[models.Operation]:
    return _operation("take_snapshot", "vms", vm, "snapshots", body=request, wait_s=wait_s)


def list_snapshots(vm: str | None) -> Call[list[models.Snapshot]]:
    return Call("list_snapshots", "GET", path_of("snapshots"), _many(models.Snapshot), {"vm": vm})


def get_snapshot(snapshot: str) -> Call[models.Snapshot]:
    return Call("get_snapshot", "GET", path_of("snapshots", snapshot), _one(models.Snapshot))


def restore_snapshot(snapshot: str, request: models.SnapshotRestore, wait_s: float) -> Call[models.Operation]:
    return _operation("restore_snapshot", "snapshots", snapshot, "restore", body=request, wait_s=wait_s)


def remove_snapshot(snapshot: str, wait_s: float) -> Call[models.Operation]:
    return _operation("remove_snapshot", "snapshots", snapshot, method="DELETE", wait_s=wait_s)


def list_operations() -> Call[list[models.Operation]]:
    return Call("list_operations", "GET", path_of("operations"), _many(models.Operation))


def get_operation(operation: str, wait_s: float) -> Call[models.Operation]:
    return _operation("get_operation", "operations", operation, method="GET", wait_s=wait_s)


def list_events(after: int, limit: int, vm: str | None) -> Call[list[models.Event]]:
    query = {"after": after, "limit": limit, "vm": vm}
    return Call("list_events", "GET", path_of("events"), _many(models.Event), query)


def export_vm(vm: str) -> Call[bytes]:
    """Its answer is bytes, read as they come."""
    return Call("export_vm", "GET", path_of("vms", vm, "export"), lambda data: cast(bytes, data))


def export_snapshot(snapshot: str) -> Call[bytes]:
    """Its answer is bytes, read as they come."""
    return Call(
        "export_snapshot", "GET", path_of("snapshots", snapshot, "export"), lambda data: cast(bytes, data)
    )


def import_file(name: str | None, wait_s: float) -> Call[models.Operation]:
    """Its body is bytes, sent as they come."""
    query = {"name": name, "wait_s": wait_s}
    return Call("import_file", "POST", path_of("import"), _one(models.Operation), query)
