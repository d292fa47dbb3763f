# SPDX-License-Identifier: Apache-2.0
"""Where the processes of one user meet and what they keep: names of folders and files, nothing more.

Whoever makes one of these folders makes it for its user alone (`innkeeper.host.private`).

Source: XDG Base Directory Specification 0.8, "Environment variables".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from innkeeper.errors import ConfigError

SOCKET_PATH_LIMIT_BYTES = 107
"""What `sockaddr_un` of Linux holds besides its end, unix(7)."""
RUNTIME_VARIABLE = "INNKEEPER_RUNTIME"
STATE_VARIABLE = "INNKEEPER_STATE"
_LONGEST_SOCKET = "vm/0123456789ab.sock"


@dataclass(frozen=True)
class Places:
    """The folders of one user's hypervisor. `runtime` is gone when the host restarts, `state` is kept."""

    runtime: Path
    state: Path

    @classmethod
    def of(cls, environment: Mapping[str, str], user_id: int) -> Self:
        """The folders that `environment` names; relative ones are ignored, as XDG has it.

        ConfigError if the runtime folder's path is too long for a socket in it.
        """
        runtime = _chosen(environment, RUNTIME_VARIABLE) or _below(environment, "XDG_RUNTIME_DIR")
        state = _chosen(environment, STATE_VARIABLE) or _below(environment, "XDG_STATE_HOME")
        home = Path(environment.get("HOME") or Path.home())
        places = cls(
            runtime=runtime or Path(f"/tmp/innkeeper-{user_id}"),
            state=state or home / ".local/state/innkeeper",
        )
        if len(os.fsencode(places.runtime / _LONGEST_SOCKET)) > SOCKET_PATH_LIMIT_BYTES:
            remedy = f"set {RUNTIME_VARIABLE} to a shorter path"
            raise ConfigError(f"the path {places.runtime} is too long for sockets in it", remedy)
        return places

    @property
    def socket(self) -> Path:
        """On which the hypervisor answers."""
        return self.runtime / "hypervisor.sock"

    @property
    def lock(self) -> Path:
        """Locked by the hypervisor that runs."""
        return self.state / "hypervisor.lock"

    @property
    def database(self) -> Path:
        return self.state / "hypervisor.db"

    @property
    def log(self) -> Path:
        """What the hypervisor prints when it was started on demand."""
        return self.state / "hypervisor.log"

    @property
    def control_sockets(self) -> Path:
        return self.runtime / "vm"

    def control_socket(self, vm_id: str) -> Path:
        """On which the VMM of a VM answers."""
        return self.control_sockets / f"{vm_id}.sock"

    @property
    def networks(self) -> Path:
        """Which private networks there are."""
        return self.state / "networks"

    @property
    def network_sockets(self) -> Path:
        """Where the VMs on each of them meet."""
        return self.runtime / "networks"

    @property
    def vms(self) -> Path:
        return self.state / "vms"

    def vm(self, vm_id: str) -> Path:
        """What is kept of a VM: `vmm.json`, logs, `disks/`."""
        return self.vms / vm_id

    @property
    def imports(self) -> Path:
        """What comes from, or goes to, another host, while that lasts."""
        return self.state / "imports"

    @property
    def snapshots(self) -> Path:
        return self.state / "snapshots"

    def snapshot(self, snapshot_id: str) -> Path:
        """The folder of a snapshot."""
        return self.snapshots / snapshot_id


def _chosen(environment: Mapping[str, str], name: str) -> Path | None:
    value = environment.get(name, "")
    return Path(value) if os.path.isabs(value) else None


def _below(environment: Mapping[str, str], name: str) -> Path | None:
    folder = _chosen(environment, name)
    return None if folder is None else folder / "innkeeper"
