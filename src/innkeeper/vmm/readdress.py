# SPDX-License-Identifier: Apache-2.0
"""New addresses for a guest that is a copy: of its adapters after the first, whose MAC address is part of the
identity, and on private networks, where its former address is its origin's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from innkeeper.api.vmm_protocol import ExecParameters
from innkeeper.errors import InnkeeperError
from innkeeper.guest_agent import protocol as say
from innkeeper.vmm.agent import GuestAgent
from innkeeper.vmm.agent_session import AgentSession
from innkeeper.vmm.agent_wire import FileStatus

SCRIPT = """
busybox=/run/innkeeper/busybox
[ -x $busybox ] || busybox=busybox
status=0
while [ $# -gt 0 ]; do
	[ -z "$2" ] || $busybox ifconfig "$1" hw ether "$2" || status=1
	[ -z "$3" ] || $busybox ifconfig "$1" "$3" netmask "$4" || status=1
	shift 4
done
exit $status
"""
"""Arguments: name, MAC address, address, netmask of each adapter; what is empty stays."""


@dataclass(frozen=True)
class NewAddress:
    """What an adapter gets; empty texts leave what there is."""

    name: str
    mac: str = ""
    address: str = ""
    netmask: str = ""


class Readdressing:
    """One run of the script. `done(error)` hears of its end, None: well. Satisfies `SessionListener`."""

    def __init__(self, done: Callable[[str | None], None]) -> None:
        self._done = done
        self._said = b""
        self._session: AgentSession | None = None

    def begin(self, agent: GuestAgent, addresses: Sequence[NewAddress]) -> None:
        """GuestError if the agent does not answer."""
        words = [word for each in addresses for word in (each.name, each.mac, each.address, each.netmask)]
        parameters = ExecParameters(("/bin/sh", "-c", SCRIPT, "sh", *words), cwd="/")
        self._session = agent.start_command(parameters, self)

    def on_output(self, kind: int, data: bytes) -> None:
        """See `SessionListener`, as for the methods below."""
        if kind == say.STDERR:
            self._said = (self._said + data)[-500:]
        if self._session is not None:
            self._session.taken(len(data))

    def on_file(self, status: FileStatus) -> None:
        """There is none."""

    def on_space(self) -> None:
        """Nothing is sent."""

    def on_end(self, result: int | InnkeeperError) -> None:
        """The script has ended, or the agent has."""
        if result == 0:
            self._done(None)
        else:
            said = self._said.decode("utf-8", "replace").strip()
            self._done(said or (str(result) if isinstance(result, InnkeeperError) else f"status {result}"))
