# SPDX-License-Identifier: Apache-2.0
"""An adapter on a private network: a port of its switch, and a server of addresses and names beside it.

The server, at the network's own address, is the user network's, told to let nothing out: each VMM answers its
own guest, and no question leaves it. Other VMs are reached by the switch, over IPv4 and, link-local, IPv6.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from innkeeper.devices.virtio.net_frame import ETHERNET_HEADER_BYTES, Frame, GuestPort
from innkeeper.network.ethernet import GATEWAY_MAC
from innkeeper.network.event_loop import EventLoop
from innkeeper.network.nat import UserNet
from innkeeper.network.policy import Policy
from innkeeper.network.subnet import Subnet
from innkeeper.network.switch import Switch
from innkeeper.spec.internet import ETHERTYPE_ARP, ETHERTYPE_IPV4, PORT_DHCP_SERVER, PROTOCOL_UDP

SERVER_NUMBER = 1
_ARP_TARGET = slice(38, 42)
_ARP_BYTES = 42
_BROADCAST = b"\xff" * 6


def subnet_of(network: ipaddress.IPv4Network, guest: ipaddress.IPv4Address) -> Subnet:
    """The addresses that one guest on `network` is told of."""
    server = network[SERVER_NUMBER].packed
    return Subnet(
        network4=network.network_address.packed,
        prefix4_bits=network.prefixlen,
        gateway4=server,
        dns4=server,
        guest4=guest.packed,
        leads_out=False,
    )


class PrivateNet:
    """Satisfies `NetBackend`. It owns `switch`; `names` are those that its server knows."""

    def __init__(
        self,
        loop: EventLoop,
        subnet: Subnet,
        switch: Switch,
        names: Mapping[str, tuple[bytes, ...]],
        *,
        guest_mac: bytes | None = None,
        host_name: str = "",
    ) -> None:
        self.switch = switch
        self._server_address = subnet.gateway4
        self._server = UserNet(
            loop,
            guest_mac=guest_mac,
            subnet=subnet,
            policy=Policy("deny"),
            host_name=host_name,
            siblings=names,
        )

    def attach(self, port: GuestPort) -> None:
        """See `NetBackend.attach`."""
        self.switch.attach(port)
        self._server.attach(port)

    def send(self, frames: Sequence[Frame]) -> None:
        """See `NetBackend.send`."""
        out: list[Frame] = []
        served: list[Frame] = []
        for frame in frames:
            if len(frame.data) > ETHERNET_HEADER_BYTES:
                (served if self._is_for_server(memoryview(frame.data)) else out).append(frame)
        if out:
            self.switch.send(out)
        if served:
            self._server.send(served)

    def receive_ready(self) -> None:
        """See `NetBackend.receive_ready`."""
        self.switch.receive_ready()
        self._server.receive_ready()

    def close(self) -> None:
        """Leave the network."""
        self.switch.close()
        self._server.close()

    def _is_for_server(self, data: memoryview) -> bool:
        """What is sent to the server's own address, asks for it, or asks for an address by DHCP."""
        target = data[:6]
        if target == GATEWAY_MAC:
            return True
        if target != _BROADCAST:
            return False
        ethertype = data[12] << 8 | data[13]
        if ethertype == ETHERTYPE_ARP:
            return len(data) >= _ARP_BYTES and data[_ARP_TARGET] == self._server_address
        if ethertype != ETHERTYPE_IPV4 or len(data) < 38 or data[23] != PROTOCOL_UDP:
            return False
        udp = ETHERNET_HEADER_BYTES + (data[14] & 15) * 4
        return len(data) >= udp + 4 and data[udp + 2] << 8 | data[udp + 3] == PORT_DHCP_SERVER
