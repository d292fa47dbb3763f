# SPDX-License-Identifier: Apache-2.0
"""What the hypervisor's API takes and gives: the one definition for server, OpenAPI document and clients.

Sizes are in bytes, times in nanoseconds since 1970-01-01 UTC, as the names say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen

from innkeeper.api.constraints import (
    FORKS_MAX,
    AbsolutePath,
    Cpus,
    ImageName,
    LabelName,
    LabelValue,
    MemoryBytes,
    Name,
    NetworkText,
    PortText,
    RuleText,
    Text,
    Wire,
)

VmState = Literal["stopped", "starting", "running", "paused", "stopping", "crashed"]
RestartPolicy = Literal["never", "on-failure", "always"]
EngineName = Literal["auto", "jit", "reference"]
OperationState = Literal["running", "done", "failed"]
WaitState = Literal["stopped", "running", "paused", "crashed", "ready", "ended"]
"""`ready`: running, and the guest's agent answers. `ended`: stopped or crashed."""
LogSource = Literal["console", "vmm"]
Egress = Literal["allow", "deny", "list"]
"""What a guest may reach on the network `user` besides rules: all but the host, nothing, what is allowed."""

Amount = Annotated[int, Ge(0), Le((1 << 63) - 1)]
Labels = dict[LabelName, LabelValue]


@dataclass(frozen=True, kw_only=True)
class Disk(Wire):
    """A disk of the user: a raw file, a block device, or an overlay, whose name ends in `.overlay`."""

    path: AbsolutePath
    read_only: bool = False


Rules = Annotated[list[RuleText], MaxLen(256)]


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(Wire):
    """A VM's network adapters, and what holds for the one on the network `user`."""

    adapters: Annotated[list[NetworkText], MaxLen(4)] = field(default_factory=lambda: ["user"])
    """What each is connected to: `user`, a private network, `tap:INTERFACE` or `bridge:BRIDGE`."""
    ports: Annotated[list[PortText], MaxLen(256)] = field(default_factory=list)
    """Ports of the host that lead to the guest: `[HOST_ADDR:]HOST_PORT:GUEST_PORT[/udp]`."""
    egress: Egress = "allow"
    allow: Rules = field(default_factory=list)
    deny: Rules = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class NetworkUpdate(Wire):
    """Changes of a VM's network; what is null stays. Rules are replaced as a whole, adapters after a stop."""

    adapters: Annotated[list[NetworkText], MaxLen(4)] | None = None
    egress: Egress | None = None
    allow: Rules | None = None
    deny: Rules | None = None
    add_ports: Annotated[list[PortText], MaxLen(64)] = field(default_factory=list)
    remove_ports: Annotated[list[PortText], MaxLen(64)] = field(default_factory=list)
    """As they were added, or as a running VM shows them."""


@dataclass(frozen=True, kw_only=True)
class VmCreate(Wire):
    """A VM to be made. Without a name it gets one."""

    name: Name | None = None
    image: ImageName | None = None
    """What to boot, see `inn images`; default `small`, unless a kernel is given."""
    kernel: AbsolutePath | None = None
    """Boot this kernel instead of an image."""
    initrd: AbsolutePath | None = None
    append: Text = ""
    """Added to the kernel's command line."""
    firmware: AbsolutePath | None = None
    """M-mode firmware to start instead of Innkeeper's own SBI."""
    cpus: Cpus = 1
    memory_bytes: MemoryBytes = 512 << 20
    disks: Annotated[list[Disk], MaxLen(16)] = field(default_factory=list)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    labels: Annotated[Labels, MaxLen(64)] = field(default_factory=dict)
    restart: RestartPolicy = "never"
    """Whether it is started again when it ends by itself."""
    autostart: bool = False
    """Whether it is started when the host has been restarted."""
    engine: EngineName = "auto"
    start: bool = True
    """Whether it is started now."""


@dataclass(frozen=True, kw_only=True)
class VmUpdate(Wire):
    """Changes of a VM; what is null stays as it is. Labels are replaced all together."""

    name: Name | None = None
    cpus: Cpus | None = None
    memory_bytes: MemoryBytes | None = None
    labels: Annotated[Labels, MaxLen(64)] | None = None
    restart: RestartPolicy | None = None
    autostart: bool | None = None
    network: NetworkUpdate | None = None


@dataclass(frozen=True, kw_only=True)
class VmStop(Wire):
    """How to stop: first the guest is asked to power off, after `timeout_s` it is ended."""

    force: bool = False
    """End it at once, as by pulling the plug."""
    timeout_s: Annotated[float, Ge(0), Le(86400)] = 30.0


@dataclass(frozen=True, kw_only=True)
class VmClone(Wire):
    """A new VM with the settings and a copy of the disks of a stopped one."""

    name: Name | None = None
    start: bool = False


@dataclass(frozen=True, kw_only=True)
class VmFork(Wire):
    """Running copies of a running VM. `names`: at most `count`, the others get one."""

    count: Annotated[int, Ge(1), Le(FORKS_MAX)] = 1
    names: Annotated[list[Name], MaxLen(FORKS_MAX)] = field(default_factory=list)
    labels: Annotated[Labels, MaxLen(64)] | None = None
    """Of the copies; null: those of the VM."""


@dataclass(frozen=True, kw_only=True)
class SnapshotCreate(Wire):
    """A snapshot of a running or paused VM: memory, devices and disks."""

    name: Name | None = None


@dataclass(frozen=True, kw_only=True)
class SnapshotRestore(Wire):
    """A snapshot to go on from: as a new VM, or, with `in_place`, as the VM that it is of."""

    name: Name | None = None
    in_place: bool = False
    labels: Annotated[Labels, MaxLen(64)] | None = None


@dataclass(frozen=True, kw_only=True)
class Vm:
    """A VM as it is. `reason` says why it ended, or why it could not be started."""

    id: str
    name: str
    state: VmState
    ready: bool
    reason: str
    image: str | None
    kernel: str | None
    initrd: str | None
    append: str
    firmware: str | None
    engine: EngineName
    cpus: int
    memory_bytes: int
    disks: list[Disk]
    network: NetworkSettings
    labels: dict[str, str]
    restart: RestartPolicy
    autostart: bool
    restarts: int
    """How often it has been started again in a row."""
    mac_address: str
    generation: str
    """The VM generation id, new for each fork and restore."""
    origin: str
    """What it was made from: `vm:…`, `snapshot:…`, or empty."""
    created_ns: int
    started_ns: int | None
    ended_ns: int | None
    pid: int | None
    resident_bytes: int | None
    instructions: int | None


@dataclass(frozen=True, kw_only=True)
class NetworkAdapter:
    """One adapter of a running VM, and what has crossed it. Sent is what the guest sent."""

    name: str
    """As the guest and captures call it: `eth0`."""
    network: str
    mac_address: str
    sent_frames: int
    sent_bytes: int
    received_frames: int
    received_bytes: int
    dropped_frames: int


@dataclass(frozen=True, kw_only=True)
class RefusedConnection:
    """What a guest tried to reach and was not let. `port` 0: it has none."""

    time_ns: int
    protocol: str
    address: str
    port: int
    names: list[str]
    reason: str


@dataclass(frozen=True, kw_only=True)
class NetworkStatus:
    """The network of a running VM. `ports` have the numbers that the host gave where any was asked for."""

    adapters: list[NetworkAdapter]
    ports: list[str]
    refused: list[RefusedConnection]
    """The last ones, the oldest first."""
    refused_total: int


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A snapshot; `parent_id` is the one before it, of which it holds the difference."""

    id: str
    name: str
    vm_id: str
    vm_name: str
    parent_id: str | None
    memory_bytes: int
    size_bytes: int
    pause_ns: int
    created_ns: int


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why a request failed. Spec: RFC 9457 3.1 "Members of a Problem Details Object"

    `remedy` is an extension: what to do about it, empty if nothing can be done.
    """

    type: str
    title: str
    status: int
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """Something that takes a while. `what`, `done` and `total` (0: unknown) say how far it is."""

    id: str
    kind: str
    target: str
    state: OperationState
    what: str
    done: int
    total: int
    vms: list[str]
    """Ids of the VMs that it made or changed, once it is done."""
    snapshot: str | None
    problem: Problem | None
    created_ns: int
    ended_ns: int | None


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened. `number` grows by one; `vm` is the id of the VM concerned."""

    number: int
    time_ns: int
    kind: str
    vm: str | None
    name: str | None
    data: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ExecRequest(Wire):
    """A command to run in a running guest; the first message of an exec WebSocket.

    `env` is added to the guest's environment; `user` empty is root, `cwd` empty its home.
    With `timeout_s` above 0 the command is killed then, and its status is 124.
    """

    argv: Annotated[list[str], MaxLen(4096)]
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = ""
    user: str = ""
    tty: bool = False
    columns: int = 80
    rows: int = 24
    timeout_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class GuestFile:
    """A file of a guest. `mode` has type and permission bits as in `st_mode`."""

    mode: int
    links: int
    uid: int
    gid: int
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, kw_only=True)
class Info:
    """The hypervisor itself."""

    version: str
    pid: int
    user_id: int
    started_ns: int
    state_folder: str
    runtime_folder: str
    vms: int
    running: int
