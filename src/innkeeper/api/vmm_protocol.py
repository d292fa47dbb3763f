# SPDX-License-Identifier: Apache-2.0
"""What is said on the control socket of a VMM process, and the files beside it.

A VM has a folder: that of its configuration file, and for a fork, which has none, that of its `console_log`.

The socket (`SOCK_STREAM`, in a folder of this user alone) carries lines of JSON: a request
`{"id": 1, "method": "status", "params": {}}` is answered by `{"id": 1, "result": {...}}` or
`{"id": 1, "error": {"kind": "guest", "message": "...", "remedy": "..."}}`. Answers may come in another order
than the requests. After `console`, `exec`, `files` and `capture` have been answered, the connection carries
frames (`innkeeper.api.frames`) and no more requests; after `events` it carries lines `{"event": "...", ...}`.

Loaded by every VMM: only the standard library, and little of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args

from innkeeper.errors import ConfigError

LINE_LIMIT_BYTES = 1 << 20
"""A longer line ends the connection."""
VMM_MODULE = "innkeeper.vmm.process"
"""Started as `python -m VMM_MODULE CONFIG_FILE`, in a session of its own, output to `LOG_FILE`."""
DISK_TOOL_MODULE = "innkeeper.vmm.disk_tool"
"""Started as `python -m DISK_TOOL_MODULE …`: the hypervisor has nothing to do with the form of disks."""
CONFIG_FILE = "vmm.json"
"""In the VM's folder: the `VmmConfig` that its VMM was started with."""
ENDED_FILE = "ended.json"
"""Beside it: an `EndedRecord`, written before the socket goes. Without it a VMM that is gone crashed."""
LOG_FILE = "vmm.log"

VmState = Literal["booting", "running", "paused", "stopping", "ended"]
Ending = Literal["power-off", "failed", "crashed", "stopped"]
METHODS = (
    "status", "pause", "resume", "stop", "reboot", "resize", "snapshot", "fork",
    "console", "exec", "files", "events", "network", "set_network", "capture",
)  # fmt: skip


@dataclass(frozen=True)
class VmDisk:
    """A disk of the VM: a raw file, a block device, or an overlay, known by its suffix `.overlay`."""

    path: str
    read_only: bool = False


@dataclass(frozen=True)
class VmmConfig:
    """One VM, as its VMM is told of it. Paths are absolute; empty strings and None mean that there is none.

    Either `image` or `kernel` (with `initrd`) is booted. `root_overlay` keeps what the guest writes to the
    root disk of an image that has one, and is made where it is missing; None: thrown away at the end.
    `mac_addresses` has one entry for each network card; `networks` says where each is connected ("user",
    "tap:INTERFACE", "bridge:BRIDGE", "none"), where it is shorter the first to "user" and others to nothing.
    `ports` are forwarded to the card on "user", as `inn run -p` takes them; `egress`, `allow` and `deny` say
    what it may reach.
    `generation` is the VM's generation: 32 hex digits, new for each fork and each restore. `hostname` is
    the guest's; empty: made from `name`.
    `restore_from` is the folder of a snapshot to go on from instead of booting.
    """

    id: str
    name: str
    control_socket: str
    console_log: str
    generation: str
    image: str = "small"
    kernel: str | None = None
    initrd: str | None = None
    append: str = ""
    firmware: str | None = None
    hostname: str = ""
    cpus: int = 1
    memory_bytes: int = 512 << 20
    root_overlay: str | None = None
    disks: tuple[VmDisk, ...] = ()
    mac_addresses: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    egress: str = "allow"
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    engine: str = "auto"
    restore_from: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """ConfigError, naming the field, for anything but what `to_json` gives."""
        values = checked_fields(cls, data, "VM configuration")
        disks = values.get("disks", ())
        if not isinstance(disks, list | tuple):
            raise _wrong("VM configuration", "disks")
        values["disks"] = tuple(VmDisk(**checked_fields(VmDisk, disk, "disk")) for disk in disks)
        addresses = values.get("mac_addresses", ())
        if not isinstance(addresses, list | tuple) or not all(map(_is_mac, addresses)):
            raise _wrong("VM configuration", "mac_addresses")
        values["mac_addresses"] = tuple(addresses)
        for name in ("networks", "ports", "allow", "deny"):
            texts = values.get(name, ())
            if not isinstance(texts, list | tuple) or not all(map(_is_text, texts)):
                raise _wrong("VM configuration", name)
            values[name] = tuple(texts)
        config = cls(**values)
        if not is_vm_id(config.id):
            raise _wrong("VM configuration", "id")
        if len(config.generation) != 32 or not _is_hex(config.generation):
            raise _wrong("VM configuration", "generation")
        return config

    @classmethod
    def read(cls, path: Path) -> Self:
        """The configuration in a file. ConfigError for one that is missing or damaged."""
        try:
            return cls.from_json(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read {path}: {error}", "start the VM with `inn start`") from error


@dataclass(frozen=True)
class EndedRecord:
    """How a VMM's VM ended; `code` is what the guest reported, `reason` a sentence for the user.

    `pid` and `process_start_ticks` (field 22 of /proc/PID/stat) say which process wrote it.
    """

    ending: Ending
    reason: str
    code: int
    generation: str
    pid: int
    process_start_ticks: int

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """ConfigError for anything but what `to_json` gives."""
        values = checked_fields(cls, data, "record of an end")
        if values["ending"] not in get_args(Ending):
            raise _wrong("record of an end", "ending")
        return cls(**values)


@dataclass(frozen=True)
class VmStatus:
    """Answer to `status`. `ready`: the guest's agent answers. Times in nanoseconds of the host's monotonic
    clock, `instructions` retired by all harts, `memory_bytes` given to the guest, `resident_bytes` of the VMM
    as the host counts them. `reason` says why it ended, once it has."""

    id: str
    state: VmState
    ready: bool
    pid: int
    process_start_ticks: int
    generation: str
    started_ns: int
    now_ns: int
    cpus: int
    memory_bytes: int
    instructions: int
    resident_bytes: int
    agent_version: int = 0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """ConfigError for anything but what `to_json` gives."""
        values = checked_fields(cls, data, "status")
        if values["state"] not in get_args(VmState):
            raise _wrong("status", "state")
        return cls(**values)


@dataclass(frozen=True)
class ExecParameters:
    """Parameters of `exec`. `argv` is looked up along the guest's PATH.

    `env` is added to the guest's own environment, `user` is a name or a number (empty: root), `cwd` empty is
    the user's home. With `tty` the command has a terminal of `columns` by `rows`, and its standard error is
    the terminal too. `timeout_s` > 0: after that many seconds it is killed, status 124.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    user: str = ""
    tty: bool = False
    columns: int = 80
    rows: int = 24
    timeout_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """ConfigError, naming the parameter, for anything that cannot be run."""
        values = checked_fields(cls, data, "exec")
        argv, env = values["argv"], values.get("env", {})
        if not isinstance(argv, list | tuple) or not argv or not all(map(_is_text, argv)) or not argv[0]:
            raise _wrong("exec", "argv")
        if not isinstance(env, dict) or not all(_is_variable(k) and _is_text(v) for k, v in env.items()):
            raise _wrong("exec", "env")
        result = cls(**values | {"argv": tuple(argv)})
        if not all(map(_is_text, (result.cwd, result.user))):
            raise _wrong("exec", "cwd or user")
        if not (0 <= result.columns <= 0xFFFF and 0 <= result.rows <= 0xFFFF):
            raise _wrong("exec", "columns or rows")
        if not 0 <= result.timeout_s <= 1e9:
            raise _wrong("exec", "timeout_s")
        return result


def checked_fields(cls: type, data: object, what: str) -> dict[str, Any]:
    """The fields of dataclass `cls` in `data`, with plain types checked; ConfigError naming `what` and field.

    Unknown fields are left out, so that a newer side may say more.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"the {what} is no JSON object", "send an object")
    result = {}
    for item in fields(cls):
        if item.name not in data:
            if isinstance(item.default, str | int | float | tuple | None) or item.default_factory is dict:
                continue
            raise ConfigError(f"the {what} lacks {item.name}", f"give {item.name}")
        value = data[item.name]
        if not _fits(str(item.type), value):
            raise _wrong(what, item.name)
        result[item.name] = value
    return result


_PLAIN: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "bool": (bool,), "float": (int, float)}


def _fits(annotation: str, value: object) -> bool:
    """Whether `value` is of a plain type; what is not plain is checked by its class."""
    if annotation.endswith(" | None"):
        if value is None:
            return True
        annotation = annotation.removesuffix(" | None")
    wanted = _PLAIN.get(annotation)
    return wanted is None or (isinstance(value, wanted) and (annotation == "bool") == isinstance(value, bool))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_variable(value: object) -> bool:
    return _is_text(value) and isinstance(value, str) and bool(value) and "=" not in value


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdef" for c in text)


def _is_mac(value: object) -> bool:
    if not isinstance(value, str):
        return False
    parts = value.split(":")
    return len(parts) == 6 and all(len(part) == 2 and _is_hex(part) for part in parts)


def is_vm_id(text: str) -> bool:
    """Whether `text` is the id of a VM: 12 lower-case hexadecimal digits."""
    return len(text) == 12 and _is_hex(text)


def _wrong(what: str, name: str) -> ConfigError:
    return ConfigError(f"{name} in the {what} is wrong", f"correct {name}")
