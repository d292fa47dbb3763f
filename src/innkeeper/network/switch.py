# SPDX-License-Identifier: Apache-2.0
"""A virtual switch without a middle: the VMM of each VM on a network is connected to those of all others.

Each learns which addresses are behind which connection, as the ports of a switch do, and sends a frame to
where it belongs, or to all. No other process sees the frames.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence

from innkeeper.devices.virtio import net_header
from innkeeper.devices.virtio.net_frame import Frame, GuestPort
from innkeeper.network.event_loop import EventLoop
from innkeeper.network.limits import NS_PER_S
from innkeeper.network.segment import adapt
from innkeeper.network.switch_peer import GREETING, GREETING_BYTES_MAX, Greeting, SwitchPeer
from innkeeper.spec.virtio import NET_HEADER_BYTES

PEERS_MAX = 256
ADDRESSES_MAX = 1024
ADDRESSES_PER_PEER = 64
AGE_NS = 300 * NS_PER_S
"""An address that was not heard of for so long is looked for everywhere again. Spec: IEEE 802.1Q 8.8.3."""
_ACCEPTS_PER_TURN = 16


class Switch:
    """Satisfies `NetBackend`: our guest's port. `listening` takes members that come later, `peers` are there.

    `own_macs` are addresses that no peer may use: those that our VMM itself answers at.
    `on_members()` is called when `members` have changed.
    """

    def __init__(
        self,
        loop: EventLoop,
        greeting: Greeting,
        listening: socket.socket,
        peers: Sequence[socket.socket],
        *,
        own_macs: Collection[bytes] = (),
        on_members: Callable[[], None] = lambda: None,
    ) -> None:
        self.dropped_frames = 0
        self._loop, self._greeting, self._listening = loop, greeting, listening
        self._own_macs, self._on_members = frozenset(own_macs), on_members
        self._port: GuestPort | None = None
        self._guest_macs: OrderedDict[bytes, None] = OrderedDict()
        self._peers: list[SwitchPeer] = []
        self._addresses: OrderedDict[bytes, tuple[SwitchPeer, int]] = OrderedDict()
        self._counts: dict[SwitchPeer, int] = {}
        for connection in peers:
            self._add(connection)
        loop.add_reader(listening.fileno(), self._accept)

    @property
    def members(self) -> list[Greeting]:
        """Who else is there and has introduced itself."""
        return [peer.greeting for peer in self._peers if peer.greeting is not None]

    def attach(self, port: GuestPort) -> None:
        """See `NetBackend.attach`."""
        self._port = port

    def send(self, frames: Sequence[Frame]) -> None:
        """See `NetBackend.send`."""
        now_ns = self._loop.clock.now_ns()
        for frame in frames:
            data = frame.data
            source = bytes(data[6:12])
            if source not in self._guest_macs:
                self._note_guest(source)
            header = net_header.pack(frame)
            peer = self._peer_of(bytes(data[:6]), now_ns)
            if peer is not None:
                peer.send(header, data)
            else:
                for other in tuple(self._peers):
                    other.send(header, data)

    def receive_ready(self) -> None:
        """See `NetBackend.receive_ready`."""
        for peer in tuple(self._peers):
            if peer.kept:
                if not self._give_kept(peer):
                    return
                peer.resume()

    def close(self) -> None:
        """Leave the network."""
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()
        for peer in self._peers:
            peer.close()
        self._peers.clear()
        self._addresses.clear()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._add(connection)

    def _add(self, connection: socket.socket) -> None:
        if len(self._peers) >= PEERS_MAX:
            connection.close()
            return
        peer = SwitchPeer(self._loop, connection, self._packet, self._gone)
        self._peers.append(peer)
        self._counts[peer] = 0
        peer.send(self._greeting.encode(), b"")

    def _gone(self, peer: SwitchPeer) -> None:
        if peer in self._peers:
            self._peers.remove(peer)
        self._counts.pop(peer, None)
        for mac in [mac for mac, (owner, _) in self._addresses.items() if owner is peer]:
            del self._addresses[mac]
        if peer.greeting is not None:
            self._on_members()

    def _packet(self, peer: SwitchPeer, packet: memoryview) -> bool:
        """A packet of `peer`; whether our guest takes more."""
        if packet[0] == GREETING:
            if len(packet) <= GREETING_BYTES_MAX and peer.greeting is None:
                peer.greeting = Greeting.decode(bytes(packet))
                self._on_members()
            return True
        frame = net_header.unpack(packet, packet[NET_HEADER_BYTES:])
        if frame is None or not self._learn(bytes(packet[18:24]), peer):
            self.dropped_frames += 1
            return True
        if self._port is None:
            return True
        for part in adapt(frame, self._port.offloads):
            if peer.kept or not self._port.receive(part):
                part.data = bytes(part.data)
                peer.kept.append(part)
        return not peer.kept

    def _give_kept(self, peer: SwitchPeer) -> bool:
        """Give what waits to the guest; whether it took all."""
        while peer.kept:
            if self._port is not None and not self._port.receive(peer.kept[0]):
                return False
            peer.kept.popleft()
        return True

    def _learn(self, mac: bytes, peer: SwitchPeer) -> bool:
        """Note that `mac` is behind `peer`; False for a source that cannot be there."""
        if mac[0] & 1 or mac in self._own_macs or mac in self._guest_macs:
            return False
        now_ns = self._loop.clock.now_ns()
        known = self._addresses.get(mac)
        if known is not None and known[0] is not peer:
            # It has moved, or is forged; as in any switch the last who used it has it.
            self._forget(mac)
            known = None
        if known is None:
            if self._counts.get(peer, 0) >= ADDRESSES_PER_PEER:
                return True  # not learned: frames to it go to all
            if len(self._addresses) >= ADDRESSES_MAX:
                self._forget(next(iter(self._addresses)))
            self._counts[peer] = self._counts.get(peer, 0) + 1
        self._addresses[mac] = (peer, now_ns)
        self._addresses.move_to_end(mac)
        return True

    def _forget(self, mac: bytes) -> None:
        owner, _ = self._addresses.pop(mac)
        if owner in self._counts:
            self._counts[owner] -= 1

    def _peer_of(self, mac: bytes, now_ns: int) -> SwitchPeer | None:
        """Where frames to `mac` belong; None: to all."""
        known = self._addresses.get(mac)
        if known is None:
            return None
        if now_ns - known[1] > AGE_NS:
            self._forget(mac)
            return None
        return known[0]

    def _note_guest(self, mac: bytes) -> None:
        """Our guest uses `mac`: it is nobody else's."""
        if mac[0] & 1:
            return
        if mac in self._addresses:
            self._forget(mac)
        self._guest_macs[mac] = None
        if len(self._guest_macs) > ADDRESSES_PER_PEER:
            self._guest_macs.popitem(last=False)
