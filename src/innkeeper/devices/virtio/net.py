# SPDX-License-Identifier: Apache-2.0
"""virtio network device: one receive, one transmit and one control queue, super-frames both ways.

One pair of queues: all of them would be served by the machine's one I/O thread.

Spec: virtio-1.3 5.1 "Network Device".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from innkeeper.devices.ports import Clock, GuestMemory
from innkeeper.devices.saved import require
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.net_backend import LoopbackNet, NullNet
from innkeeper.devices.virtio.net_control import answer_command
from innkeeper.devices.virtio.net_frame import (
    FRAME_BYTES_MAX,
    Frame,
    NetBackend,
    Offloads,
)
from innkeeper.devices.virtio.net_header import pack, scatter, split, unpack
from innkeeper.devices.virtio.net_state import NetState
from innkeeper.devices.virtio.queue import Chain
from innkeeper.errors import GuestError
from innkeeper.spec.virtio import (
    DEVICE_NET,
    NET_F_CSUM,
    NET_F_CTRL_GUEST_OFFLOADS,
    NET_F_CTRL_MAC_ADDR,
    NET_F_CTRL_RX,
    NET_F_CTRL_VQ,
    NET_F_GUEST_ANNOUNCE,
    NET_F_GUEST_CSUM,
    NET_F_GUEST_TSO4,
    NET_F_GUEST_TSO6,
    NET_F_HOST_TSO4,
    NET_F_HOST_TSO6,
    NET_F_MAC,
    NET_F_MRG_RXBUF,
    NET_F_MTU,
    NET_F_STATUS,
    NET_HDR_GSO_TCPV4,
    NET_HDR_GSO_TCPV6,
    NET_HEADER_BYTES,
    NET_MTU_MIN_BYTES,
    NET_S_ANNOUNCE,
    NET_S_LINK_UP,
)

__all__ = ["LoopbackNet", "NetBackend", "NetState", "NullNet", "VirtioNet"]

BATCH_BYTES_MAX = 512 << 10
"""After so much from the guest its backend gets it, and others get the machine's lock."""
INLINE_BYTES_MAX = 2048
"""A frame of this size a hart may send by itself,"""
INLINE_AFTER = 8
"""but so many times after a larger one came or went it does not: a stream of data needs both threads."""
INLINE_UNANSWERED_MAX = 8
"""So many frames without one that came back are a stream too."""
HELD_MAX = 32
HOLD_NS = 2_000_000
"""So many buffers of frames that a hart has sent itself are returned together, and no later than this."""

_QUEUE_SIZE = 256
_RECEIVE, _TRANSMIT, _CONTROL = 0, 1, 2
_FRAMES_PER_BATCH = 64
# mac, status, max_virtqueue_pairs, mtu: 5.1.4 "Device configuration layout".
_CONFIG = struct.Struct("<6sHHH")
_FEATURES = (
    NET_F_CSUM, NET_F_GUEST_CSUM, NET_F_CTRL_GUEST_OFFLOADS, NET_F_MTU, NET_F_MAC, NET_F_GUEST_TSO4,
    NET_F_GUEST_TSO6, NET_F_HOST_TSO4, NET_F_HOST_TSO6, NET_F_MRG_RXBUF, NET_F_STATUS, NET_F_CTRL_VQ,
    NET_F_CTRL_RX, NET_F_GUEST_ANNOUNCE, NET_F_CTRL_MAC_ADDR,
)  # fmt: skip
_GUEST_OFFLOADS = 1 << NET_F_GUEST_CSUM | 1 << NET_F_GUEST_TSO4 | 1 << NET_F_GUEST_TSO6
_GSO_FEATURE = {NET_HDR_GSO_TCPV4: NET_F_HOST_TSO4, NET_HDR_GSO_TCPV6: NET_F_HOST_TSO6}


class IoThread(Protocol):
    """The machine's I/O thread, as far as a device has to know of it."""

    @property
    def sleeps(self) -> bool:
        """Whether it has nothing to do."""
        ...

    @property
    def clock(self) -> Clock: ...

    def call_at(self, deadline_ns: int, work: Callable[[], None]) -> object: ...


class VirtioNet(VirtioDevice):
    """A network card with the address `mac` (6 bytes) whose frames carry up to `mtu_bytes` of payload.

    Satisfies `GuestPort`. With `defer` from the machine, frames move on its I/O thread only.
    """

    device_type = DEVICE_NET
    state: NetState

    def __init__(
        self,
        memory: GuestMemory,
        backend: NetBackend,
        *,
        mac: bytes,
        mtu_bytes: int = 1500,
        io: IoThread | None = None,
    ) -> None:
        if len(mac) != 6 or mac[0] & 1:
            raise ValueError(f"{mac.hex(':')} is not the unicast address of a network card")
        if not NET_MTU_MIN_BYTES <= mtu_bytes <= 65535:
            raise ValueError(f"an MTU of {mtu_bytes} bytes is outside {NET_MTU_MIN_BYTES}..65535")
        self._backend = backend
        self._mac, self._mtu_bytes = mac, mtu_bytes
        self._io = io
        self._served_soon = [False, False]
        self._signal_soon = False
        self._inline = False
        self._little = 0
        self._unanswered = 0
        self._return_soon = False
        super().__init__(memory, [_QUEUE_SIZE] * 3, _FEATURES)
        backend.attach(self)

    # What the machine calls.

    def power_on_state(self) -> NetState:
        # What belongs to the backend outlives a reset by the driver.
        before = getattr(self, "state", None) or NetState()
        return NetState(
            queues=[queue.state for queue in self.queues],
            mac=self._mac,
            link_up=before.link_up,
            waiting=before.waiting,
        )

    def set_link(self, up: bool) -> None:
        """Plug the cable in or pull it; while it is out, frames are dropped both ways."""
        if up != self.state.link_up:
            self.state.link_up = up
            self.config_changed()

    def announce(self) -> None:
        """Have the guest announce itself: what is at the other end of the cable has changed.

        Spec: virtio-1.3 5.1.6.5.4 "Gratuitous Packet Sending".
        """
        if self.live and self.negotiated(NET_F_GUEST_ANNOUNCE):
            self.state.announce = True
            self.config_changed()

    def read_config(self, offset: int, size_bytes: int) -> int:
        state = self.state
        status = (NET_S_LINK_UP if state.link_up else 0) | (NET_S_ANNOUNCE if state.announce else 0)
        config = _CONFIG.pack(state.mac, status, 1, self._mtu_bytes)
        return int.from_bytes(config[offset : offset + size_bytes], "little")

    def restored(self) -> None:
        """The backend is another, with nothing on its way."""
        state = self.state
        require(len(state.mac) == 6 and not state.mac[0] & 1, "a network card with a wrong address")
        require(not state.guest_offloads & ~_GUEST_OFFLOADS, "a network card with unknown offloads")
        require(
            len(state.held) <= HELD_MAX and all(0 <= head < _QUEUE_SIZE for head in state.held),
            "a network card that holds buffers that it never had",
        )
        if state.held:
            self._return_later()

    def started(self) -> None:
        self.state.guest_offloads = self.state.driver_features & _GUEST_OFFLOADS

    def notify(self, queue_index: int) -> None:
        """Serve the queue, on the I/O thread where there is one: a hart does not wait for the network.

        Unless that thread sleeps: to wake it would take the hart longer than to send the one small frame that
        most often is all there is, and the answer would come later too.
        """
        if self._defer is None or queue_index not in (_RECEIVE, _TRANSMIT):
            super().notify(queue_index)
        elif not self._served_soon[queue_index]:
            if queue_index == _TRANSMIT and self._may_send_inline():
                self._serve_inline()
                return
            self._served_soon[queue_index] = True
            self._defer(self._serve_transmit if queue_index == _TRANSMIT else self._serve_receive)

    def serve(self, queue_index: int) -> None:
        if queue_index == _TRANSMIT:
            self._transmit_batch()
        elif queue_index == _RECEIVE:
            self._buffers_came()
        else:
            self.drain(queue_index, self._command)

    # What the backend calls.

    @property
    def mtu_bytes(self) -> int:
        """See `GuestPort.mtu_bytes`."""
        return self._mtu_bytes

    @property
    def offloads(self) -> Offloads:
        """See `GuestPort.offloads`."""
        bits = self.state.guest_offloads
        return Offloads(
            checksum=bool(bits >> NET_F_GUEST_CSUM & 1),
            tso4=bool(bits >> NET_F_GUEST_TSO4 & 1),
            tso6=bool(bits >> NET_F_GUEST_TSO6 & 1),
        )

    def receive(self, frame: Frame) -> bool:
        """See `GuestPort.receive`."""
        state, size_bytes = self.state, len(frame.data)
        self._unanswered = 0
        if not self.live or not state.link_up or size_bytes > FRAME_BYTES_MAX:
            state.received_dropped_frames += 1
            return True
        if size_bytes > INLINE_BYTES_MAX:
            self._little = 0
        try:
            outcome = self._deliver(frame, size_bytes)
        except GuestError as error:
            self.fail(error)
            outcome = False
        if outcome is None:
            return False
        if outcome:
            state.received_frames += 1
            state.received_bytes += size_bytes
        else:
            state.received_dropped_frames += 1
        return True

    # From the guest.

    def _may_send_inline(self) -> bool:
        """Whether one small frame is all there is to send; what makes no sense is left to who pops it."""
        self._little += 1
        if self._little <= INLINE_AFTER or self._unanswered >= INLINE_UNANSWERED_MAX:
            return False
        if self._io is None or not self._io.sleeps:
            return False
        self._unanswered += 1
        try:
            return self.live and self.queues[_TRANSMIT].is_short(INLINE_BYTES_MAX)
        except GuestError:
            return False

    def _serve_inline(self) -> None:
        self._inline = True
        try:
            self.serve_all(_TRANSMIT)
        finally:
            self._inline = False
        if self._signal_soon:
            self._signal_now()

    def _serve_transmit(self) -> None:
        self._served_soon[_TRANSMIT] = False
        self.serve_all(_TRANSMIT)

    def _transmit_batch(self) -> None:
        """Give what the driver has made available to the backend, and then its buffers back, all at once.

        Spec: virtio-1.3 5.1.6.2 "Packet Transmission".
        """
        queue, state = self.queues[_TRANSMIT], self.state
        queue.suppress_notification()
        frames: list[Frame] = []
        heads: list[int] = []
        left_bytes = BATCH_BYTES_MAX
        while len(heads) < _FRAMES_PER_BATCH and left_bytes > 0:
            chain = queue.pop()
            if chain is None:
                break
            heads.append(chain.head)
            frame = self._frame_of(chain)
            if frame is None or not state.link_up:
                state.sent_dropped_frames += 1
                continue
            size_bytes = len(frame.data)
            if size_bytes > INLINE_BYTES_MAX:
                self._little = 0
            left_bytes -= size_bytes
            state.sent_frames += 1
            state.sent_bytes += size_bytes
            frames.append(frame)
        if frames:
            self._backend.send(frames)
        if self.live:
            state.held += heads
            if self._inline and len(state.held) < HELD_MAX:
                self._return_later()
            else:
                self._return_held()
            # While frames come there will be more: look once more before asking to be told. Not from a hart,
            # which would wake the I/O thread for that.
            self._turn_over = (bool(heads) and not self._inline) or queue.ask_notification()

    def _return_later(self) -> None:
        """Drivers ask to be told of each buffer; with the next frame to the guest that costs no more."""
        if not self._return_soon and self._io is not None:
            self._return_soon = True
            self._io.call_at(self._io.clock.now_ns() + HOLD_NS, self._return_now)

    def _return_now(self) -> None:
        self._return_soon = False
        if self.live:
            self._return_held()

    def _return_held(self) -> None:
        """Give sent buffers back to the driver."""
        queue, held = self.queues[_TRANSMIT], self.state.held
        if held:
            for head in held:
                queue.push(head, 0)
            held.clear()
            self.signal(queue)

    def _frame_of(self, chain: Chain) -> Frame | None:
        """What is to be sent; None when it makes no sense, or asks for what was not agreed to."""
        header, data = split(chain.readable)
        frame = unpack(header, data)
        if frame is None or frame.checksum_start < 0:
            return frame
        if not self.negotiated(NET_F_CSUM):
            return None
        return frame if not frame.gso_type or self.negotiated(_GSO_FEATURE[frame.gso_type]) else None

    def _command(self, chain: Chain) -> int:
        return answer_command(self.state, chain, self.state.driver_features & _GUEST_OFFLOADS)

    # To the guest.

    def _serve_receive(self) -> None:
        self._served_soon[_RECEIVE] = False
        self.serve_all(_RECEIVE)

    def _buffers_came(self) -> None:
        """Tell a backend that waits; one that does not finds the buffers by itself."""
        self.queues[_RECEIVE].suppress_notification()
        if self.state.waiting:
            self.state.waiting = False
            self._backend.receive_ready()

    def _deliver(self, frame: Frame, size_bytes: int) -> bool | None:
        """True when it is given, False when it cannot be, None when there is no room yet.

        Spec: virtio-1.3 5.1.6.4 "Processing of Incoming Packets".
        """
        queue, mergeable = self.queues[_RECEIVE], self.negotiated(NET_F_MRG_RXBUF)
        packet_bytes = size_bytes + NET_HEADER_BYTES
        wanted_bytes = packet_bytes if mergeable else 1
        buffers = queue.reserve(wanted_bytes)
        while buffers is None:
            if queue.was_full:
                return False  # more than the queue holds: waiting would not help
            if not queue.ask_more():
                self.state.waiting = True
                return None
            buffers = queue.reserve(wanted_bytes)
        # Without mergeable buffers the frame has to fit into one; if it does not it is lost.
        fits = mergeable or (len(buffers) == 1 and sum(map(len, buffers[0][1])) >= packet_bytes)
        if fits:
            queue.push_all(scatter(pack(frame, len(buffers)), frame.data, buffers))
        else:
            queue.push_all([(head, 0) for head, _ in buffers])
        self._signal_received()
        return fits

    def _signal_received(self) -> None:
        """One interrupt for all that is given to the guest in one turn of the I/O thread."""
        if self._defer is None:
            self.signal(self.queues[_RECEIVE])
        elif not self._signal_soon:
            self._signal_soon = True
            if not self._inline:
                self._defer(self._signal_now)

    def _signal_now(self) -> None:
        self._signal_soon = False
        if self.live:
            self._return_held()
            self.signal(self.queues[_RECEIVE])
