# SPDX-License-Identifier: Apache-2.0
"""virtio network device without offloads: one receive queue, one transmit queue, whole Ethernet frames.

Spec: virtio-1.3 5.1 "Network Device".
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from innkeeper.devices.ports import GuestMemory
from innkeeper.devices.virtio.device import VirtioDevice, VirtioState
from innkeeper.devices.virtio.queue import Chain
from innkeeper.errors import GuestError
from innkeeper.spec.virtio import (
    DEVICE_NET,
    NET_F_MAC,
    NET_F_MTU,
    NET_F_STATUS,
    NET_HEADER_BYTES,
    NET_MTU_MIN_BYTES,
    NET_S_LINK_UP,
)

ETHERNET_HEADER_BYTES = 14
FRAME_BYTES_MAX = ETHERNET_HEADER_BYTES + 4 + 65535

_QUEUE_SIZE = 256
_RECEIVE, _TRANSMIT = 0, 1
# mac, status, max_virtqueue_pairs, mtu: 5.1.4 "Device configuration layout".
_CONFIG = struct.Struct("<6sHHH")
# flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers: 5.1.6 "Device Operation".
_RECEIVE_HEADER = struct.pack("<BBHHHHH", 0, 0, 0, 0, 0, 0, 1)


class NetBackend(Protocol):
    """The other end of the cable. Both directions run with the machine's lock held."""

    def attach(self, receive: Callable[[bytes], bool]) -> None:
        """Called once: `receive(frame)` gives a frame to the guest; False when it was dropped."""
        ...

    def send(self, frame: bytes | memoryview) -> None:
        """A frame of the guest, without FCS. The buffer is valid only during the call."""
        ...


class NullNet:
    """A cable that ends in nothing."""

    def attach(self, receive: Callable[[bytes], bool]) -> None:
        pass

    def send(self, frame: bytes | memoryview) -> None:
        pass


class LoopbackNet:
    """A plug that returns every frame to the guest that sent it."""

    def __init__(self) -> None:
        self._receive: Callable[[bytes], bool] = lambda frame: False

    def attach(self, receive: Callable[[bytes], bool]) -> None:
        self._receive = receive

    def send(self, frame: bytes | memoryview) -> None:
        self._receive(bytes(frame))


@dataclass
class NetState(VirtioState):
    """Frames since reset; dropped ones had no buffer, or no sense."""

    received_frames: int = 0
    received_dropped_frames: int = 0
    sent_frames: int = 0
    sent_dropped_frames: int = 0


class VirtioNet(VirtioDevice):
    """A network card with the address `mac` (6 bytes) whose frames carry up to `mtu_bytes` of payload."""

    device_type = DEVICE_NET
    state: NetState

    def __init__(
        self, memory: GuestMemory, backend: NetBackend, *, mac: bytes, mtu_bytes: int = 1500
    ) -> None:
        if len(mac) != 6 or mac[0] & 1:
            raise ValueError(f"{mac.hex(':')} is not the unicast address of a network card")
        if not NET_MTU_MIN_BYTES <= mtu_bytes <= 65535:
            raise ValueError(f"an MTU of {mtu_bytes} bytes is outside {NET_MTU_MIN_BYTES}..65535")
        super().__init__(memory, [_QUEUE_SIZE, _QUEUE_SIZE], (NET_F_MAC, NET_F_MTU, NET_F_STATUS))
        self._backend = backend
        self._mac, self._mtu_bytes = mac, mtu_bytes
        self._link_up = True
        self._write_config_space()
        backend.attach(self.receive)

    def power_on_state(self) -> NetState:
        return NetState(queues=[queue.state for queue in self.queues])

    def set_link(self, up: bool) -> None:
        """Plug the cable in or pull it; while it is out, frames are dropped both ways."""
        if up != self._link_up:
            self._link_up = up
            self._write_config_space()
            self.config_changed()

    def receive(self, frame: bytes) -> bool:
        """Give a frame (without FCS) to the guest; False if it was dropped for want of a buffer or a link."""
        delivered = False

        def deliver() -> None:
            nonlocal delivered
            delivered = self._deliver(frame)

        if self.live and self._link_up:
            self.guarded(deliver)
        if delivered:
            self.state.received_frames += 1
        else:
            self.state.received_dropped_frames += 1
        return delivered

    def serve(self, queue_index: int) -> None:
        # New receive buffers need no action: frames that found none are gone, as on a real cable.
        if queue_index == _TRANSMIT:
            self.drain(queue_index, self._transmit)

    def _write_config_space(self) -> None:
        status = NET_S_LINK_UP if self._link_up else 0
        self.config = bytearray(_CONFIG.pack(self._mac, status, 1, self._mtu_bytes))

    def _deliver(self, frame: bytes) -> bool:
        """Spec: virtio-1.3 5.1.6.4 "Processing of Incoming Packets"."""
        queue = self.queues[_RECEIVE]
        queue.suppress_notification()
        chain = queue.pop()
        if chain is None:
            return False
        packet = memoryview(_RECEIVE_HEADER + frame)
        done = 0
        for segment in chain.writable:
            part = packet[done : done + len(segment)]
            segment[: len(part)] = part
            done += len(part)
        # A buffer too small for a frame of our MTU breaks 5.1.6.3.1; the frame is lost, not its header.
        fits = done == len(packet)
        queue.push(chain.head, done if fits else 0)
        self.signal(queue)
        return fits

    def _transmit(self, chain: Chain) -> int:
        """Spec: virtio-1.3 5.1.6.2 "Packet Transmission"."""
        frame = _frame_of(chain.readable)
        if self._link_up and ETHERNET_HEADER_BYTES <= len(frame) <= FRAME_BYTES_MAX:
            self._backend.send(frame)
            self.state.sent_frames += 1
        else:
            self.state.sent_dropped_frames += 1
        return 0


def _frame_of(readable: list[memoryview]) -> bytes | memoryview:
    """What follows the 12-byte header, without a copy if it lies in one segment."""
    total_bytes = sum(map(len, readable))
    if total_bytes < NET_HEADER_BYTES:
        raise GuestError("a transmitted packet is shorter than its header")
    if total_bytes - NET_HEADER_BYTES > FRAME_BYTES_MAX:
        return b""
    if len(readable[0]) == NET_HEADER_BYTES and len(readable) == 2:
        return readable[1]
    if len(readable) == 1:
        return readable[0][NET_HEADER_BYTES:]
    return b"".join(readable)[NET_HEADER_BYTES:]
