# SPDX-License-Identifier: Apache-2.0
"""Where on the host a guest's destination is, if policy lets the guest go there at all."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass

from innkeeper.network.limits import Clock, Limits
from innkeeper.network.names import LearnedNames
from innkeeper.network.policy import Policy
from innkeeper.network.refusals import Refusal, RefusalLog
from innkeeper.network.subnet import Subnet, text_of

_DISCARD_PORT = 9


@dataclass(frozen=True, slots=True)
class Destination:
    """An allowed destination: what the guest asked for, and the host's address for it."""

    protocol: str
    target: bytes
    port: int
    host_address: str
    family: socket.AddressFamily
    names: tuple[str, ...] = ()
    is_host: bool = False
    """The host's loopback, by way of the gateway."""


def is_own_address(address: str, family: socket.AddressFamily) -> bool:
    """Whether `address` is one of this host's. The kernel's routing says so: it would send from there.

    Connecting a datagram socket sends nothing.
    """
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, _DISCARD_PORT))
        return str(probe.getsockname()[0]).partition("%")[0] == address
    return False


class Egress:
    """The policy in force, with what it needs to be applied. `policy` may be replaced at any time."""

    def __init__(
        self,
        policy: Policy,
        subnet: Subnet,
        clock: Clock,
        limits: Limits,
        on_refused: Callable[[Refusal], None] | None = None,
        is_own: Callable[[str, socket.AddressFamily], bool] = is_own_address,
    ) -> None:
        self.policy = policy
        self.names = LearnedNames(clock, limits.learned_names)
        self.refusals = RefusalLog(clock, limits.refusals, on_refused)
        self._subnet, self._is_own = subnet, is_own

    def decide(self, protocol: str, target: bytes, port: int) -> Destination | None:
        """The destination for the packed address `target`, None (and a line in the log) if it is refused.

        Not for the DNS service, which is ours.
        """
        if self._subnet.is_gateway(target):
            reason = self.policy.host_refusal(protocol, port)
            if reason is None:
                family = socket.AF_INET if len(target) == 4 else socket.AF_INET6
                loopback = "127.0.0.1" if len(target) == 4 else "::1"
                return Destination(protocol, target, port, loopback, family, is_host=True)
            self.refusals.add(protocol, text_of(target), port, (), reason)
            return None
        names = self.names.of(target)
        destination = Destination(
            protocol,
            target,
            port,
            text_of(target),
            socket.AF_INET if len(target) == 4 else socket.AF_INET6,
            names,
        )
        reason = self._refusal(destination)
        if reason is None:
            return destination
        self.refusals.add(protocol, destination.host_address, port, names, reason)
        return None

    def still_allowed(self, destination: Destination) -> bool:
        """Whether a flow that was allowed may go on under the policy of now."""
        if destination.is_host:
            return self.policy.host_refusal(destination.protocol, destination.port) is None
        return self._refusal(destination) is None

    def _refusal(self, destination: Destination) -> str | None:
        address = ipaddress.ip_address(destination.target)
        return self.policy.refusal(
            destination.protocol,
            address,
            destination.port,
            destination.names,
            is_own=self._is_own(destination.host_address, destination.family),
        )
