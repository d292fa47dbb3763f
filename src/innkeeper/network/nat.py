# SPDX-License-Identifier: Apache-2.0
"""User-mode NAT: a guest's network adapter on a host where nobody is root.

The guest's TCP and UDP end here and go on over the host's sockets. Everything runs on the machine's I/O loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from innkeeper.devices.virtio.net_frame import ETHERNET_HEADER_BYTES, Frame, GuestPort
from innkeeper.host.descriptors import descriptors_allowed
from innkeeper.network.dhcp import DhcpServer, HostConfiguration
from innkeeper.network.dhcpv6 import Dhcpv6Server
from innkeeper.network.dns_forwarder import DnsForwarder
from innkeeper.network.echo import EchoTable
from innkeeper.network.egress import Egress
from innkeeper.network.event_loop import EventLoop
from innkeeper.network.forwards import Forward, Forwards
from innkeeper.network.frame_input import FrameInput
from innkeeper.network.host_resolver import HostResolver
from innkeeper.network.limits import Limits, TokenBucket
from innkeeper.network.link import GuestLink
from innkeeper.network.ndp import NeighborDiscovery
from innkeeper.network.policy import Policy
from innkeeper.network.reassembly import Reassembly
from innkeeper.network.refusals import Refusal
from innkeeper.network.statistics import Statistics
from innkeeper.network.subnet import Subnet
from innkeeper.network.tcp_table import TcpTable
from innkeeper.network.udp_table import UdpTable

_BURST_S = 0.25
_BURST_BYTES_MIN = 256 << 10


class UserNet:
    """A `NetBackend`. `guest_mac` is learned from the guest's frames where it is not known before.

    `siblings` maps plain names of other VMs to packed addresses. `on_refused` hears of connections that
    policy refused, some of them when there are many.
    """

    def __init__(
        self,
        loop: EventLoop,
        *,
        guest_mac: bytes | None = None,
        subnet: Subnet | None = None,
        policy: Policy | None = None,
        limits: Limits | None = None,
        host_name: str = "",
        siblings: Mapping[str, tuple[bytes, ...]] | None = None,
        resolver: HostResolver | None = None,
        on_refused: Callable[[Refusal], None] | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.subnet, self.limits = subnet or Subnet(), (limits or Limits()).within(descriptors_allowed())
        self.statistics = Statistics()
        self._loop, self._guest_mac, self._host_name = loop, guest_mac, host_name
        self._siblings = siblings if siblings is not None else {}
        self._resolver = resolver or HostResolver()
        self._random_bytes = random_bytes
        self.egress = Egress(policy or Policy(), self.subnet, loop.clock, self.limits, on_refused)

    def attach(self, port: GuestPort) -> None:
        """The device is there: make what needs it."""
        loop, subnet, limits, egress = self._loop, self.subnet, self.limits, self.egress
        self._link = link = GuestLink(port, limits, self.statistics, self._guest_mac)
        upload = _bucket(loop, limits.upload_bytes_per_s)
        download = _bucket(loop, limits.download_bytes_per_s)
        self._dns = DnsForwarder(
            loop, link, egress, limits, self._resolver, self._siblings, random_bytes=self._random_bytes
        )
        self._tcp = TcpTable(
            loop, link, subnet, egress, limits, self._dns,
            upload=upload, download=download, random_bytes=self._random_bytes,
        )  # fmt: skip
        self._udp = UdpTable(loop, link, subnet, egress, limits, self._dns, upload=upload, download=download)
        self._echo = EchoTable(loop, link, subnet, egress, limits)
        self._reassembly = Reassembly(loop.clock, limits)
        self._forwards = Forwards(loop, subnet, self._tcp, self._udp)
        configuration = HostConfiguration(self._host_name, self._resolver.search, port.mtu_bytes)
        self._input = FrameInput(
            link,
            subnet,
            self._tcp,
            self._udp,
            self._echo,
            self._reassembly,
            DhcpServer(link, subnet, configuration),
            Dhcpv6Server(link, subnet, configuration),
            NeighborDiscovery(link, subnet, configuration),
        )

    # The backend of the device

    def send(self, frames: Sequence[Frame]) -> None:
        """Frames of the guest, whose data is only valid during the call."""
        statistics = self.statistics
        for frame in frames:
            data = frame.data
            statistics.sent_frames += 1
            statistics.sent_bytes += len(data)
            if len(data) <= ETHERNET_HEADER_BYTES:
                statistics.dropped["short frame"] += 1
            else:
                self._input.take(memoryview(data), frame)
        self._udp.finish_batch()
        self._tcp.finish_batch()

    def receive_ready(self) -> None:
        """The guest has buffers again."""
        self._link.receive_ready()
        self._tcp.finish_batch()

    # What the user may change

    @property
    def policy(self) -> Policy:
        return self.egress.policy

    def set_policy(self, policy: Policy) -> None:
        """From now on `policy` holds, for what is open too."""
        self.egress.policy = policy
        self._tcp.apply_policy()
        self._udp.apply_policy()
        self._echo.apply_policy()

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The last attempts that policy refused, oldest first."""
        return tuple(self.egress.refusals.entries)

    @property
    def buffered_bytes(self) -> int:
        """What all TCP connections together hold, in both directions."""
        return self._tcp.budget.used_bytes

    @property
    def reassembling(self) -> int:
        """Datagrams of which some fragments have come."""
        return len(self._reassembly)

    @property
    def forwards(self) -> tuple[Forward, ...]:
        return self._forwards.list()

    def add_forward(self, forward: Forward) -> Forward:
        """Open a port of the host; the forward with the port it has got. Raises HostError, ConfigError."""
        return self._forwards.add(forward)

    def remove_forward(self, forward: Forward) -> None:
        """Close a port of the host. Raises ConfigError if it is none of ours."""
        self._forwards.remove(forward)

    def drop_flows(self) -> None:
        """End everything that is open, for a guest that is another now: after a restore, in a fork.

        Forwards stay.
        """
        self._tcp.close()
        self._udp.close()
        self._echo.close()
        self._dns.close()

    def close(self) -> None:
        """Free every socket. Nothing may be called afterwards."""
        self._forwards.close()
        self.drop_flows()


def _bucket(loop: EventLoop, bytes_per_s: int | None) -> TokenBucket | None:
    if bytes_per_s is None:
        return None
    return TokenBucket(loop.clock, bytes_per_s, max(_BURST_BYTES_MIN, int(bytes_per_s * _BURST_S)))
