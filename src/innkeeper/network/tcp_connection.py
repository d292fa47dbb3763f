# SPDX-License-Identifier: Apache-2.0
"""One TCP connection: a guest on one side, a socket of the host on the other.

Spec: RFC 9293 3.10 "Event Processing".
"""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
from typing import TYPE_CHECKING

from innkeeper.network.event_loop import Deadline
from innkeeper.network.limits import NS_PER_S
from innkeeper.network.tcp_buffers import Chunk
from innkeeper.network.tcp_header import SynOptions, parse_syn_options, syn_options
from innkeeper.network.tcp_output import TcpOutput
from innkeeper.network.tcp_receiver import TcpReceiver
from innkeeper.network.tcp_sender import TcpSender
from innkeeper.spec.internet import TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN

if TYPE_CHECKING:
    from innkeeper.network.egress import Destination
    from innkeeper.network.tcp_table import TcpTable

WINDOW_SCALE = 7
_PROBE_MIN_NS = 200_000_000
_PROBE_MAX_NS = 60 * NS_PER_S
_ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER of zero: closing sends a reset."""
_KEEP_ALIVE_IDLE_S = 60


class State(enum.Enum):
    """From our side. Which halves are closed is known by the receiver and the sender."""

    CONNECTING = "connecting"
    """The guest asked; the host's socket is not connected yet."""
    SYN_SENT = "SYN-SENT"
    """The host asked; the guest has not answered."""
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    """And all states in which one side has closed."""
    TIME_WAIT = "TIME-WAIT"
    CLOSED = "CLOSED"


_RETRIES_MAX = {State.SYN_SENT: 60, State.SYN_RECEIVED: 6, State.ESTABLISHED: 12}


class TcpConnection:
    """`key` is the guest's address and port and the other's as they stand in the guest's packets.

    Everything that concerns all connections of the VM is asked of `table`.
    """

    def __init__(
        self,
        table: TcpTable,
        key: bytes,
        host: socket.socket,
        state: State,
        destination: Destination | None,
    ) -> None:
        self.table, self.key, self.host, self.state = table, key, host, state
        self.destination = destination
        """What the guest asked for; None if the host asked."""
        self.link = table.link
        limits = table.limits
        clock = table.loop.clock
        self.initial = initial = table.initial_sequence()
        self.receiver = TcpReceiver(self, host, limits.tcp_window_bytes, table.budget, table.upload)
        self.sender = TcpSender(
            self, host, initial, table.pool, clock, limits.tcp_flight_bytes, table.download
        )
        self.output = TcpOutput(self.link, key, self.receiver, self.sender)
        self.deadline = Deadline(table.loop, self._expired)
        self.guest_syn = SynOptions()
        self.scale_guest = 0
        self._syn_waits = False
        self.ack_due = False
        self._ack_waits = False
        """The acknowledgement may go with the answer that is likely to come soon."""
        self._answering = True
        """The guest has said nothing since it was last spoken to."""
        self.dirty = False
        self.touched = True
        """Something came from the guest since the last sweep for idle connections."""
        self.idle_sweeps = 0
        self._retries = 0
        self._probe_ns = _PROBE_MIN_NS
        self._probing = False
        self._reading = self._writing = False
        self._keeps_alive = False

    # What the guest sends

    def handle(
        self, sequence: int, ack: int, flags: int, window: int, payload: memoryview, options: memoryview
    ) -> None:
        """A segment of this connection, with 32-bit sequence numbers."""
        self.touched = True
        if self.state is State.ESTABLISHED:
            self._established(sequence, ack, flags, window, payload)
        elif self.state is State.TIME_WAIT:
            if not flags & (TCP_RST | TCP_SYN):
                self.send_ack()
        elif self.state is State.SYN_RECEIVED:
            self._syn_received(sequence, ack, flags, window, payload)
        elif self.state is State.SYN_SENT:
            self._syn_sent(sequence, ack, flags, window, options)
        elif flags & TCP_RST:
            # CONNECTING: the guest no longer wants to. Its SYN again asks for nothing new.
            self.close(abort=True)

    def _established(self, sequence: int, ack: int, flags: int, window: int, payload: memoryview) -> None:
        receiver = self.receiver
        offset = _signed(sequence - receiver.next)
        size_bytes = len(payload)
        if flags & (TCP_RST | TCP_SYN):
            # Spec: RFC 5961 3 and 4: only an exact reset resets.
            if flags & TCP_RST and offset == 0:
                self.close(abort=True)
            else:
                self.send_ack()
            return
        if not flags & TCP_ACK:
            return
        if not (offset + size_bytes >= 0 and offset <= receiver.window_bytes):
            self._keep_alive_probe(offset, size_bytes)
            self.send_ack()
            return
        if not self._acknowledged(receiver.next + offset, ack, window, size_bytes):
            self.send_ack()
            return
        if size_bytes:
            self._data(offset, payload)
        elif offset < 0:
            self._keep_alive_probe(offset, size_bytes)
            self.send_ack()
        if flags & TCP_FIN and self.state is not State.CLOSED:
            receiver.fin(sequence_of(receiver.next, sequence) + size_bytes)
            self.ack_due, self._ack_waits = True, False
        self._changed()

    def _acknowledged(self, sequence: int, ack: int, window: int, payload_bytes: int) -> bool:
        """Take in what the segment acknowledges; False if that was never sent."""
        sender = self.sender
        advanced = _signed(ack - sender.una)
        if advanced > sender.highest - sender.una:
            return False
        if sender.acknowledged(sender.una + advanced, window << self.scale_guest, sequence, payload_bytes):
            self._retries = 0
            self._probe_ns = _PROBE_MIN_NS
            self._set_deadline(restart=True)
        return True

    def _data(self, offset: int, payload: memoryview) -> None:
        receiver = self.receiver
        small = len(payload) < self.sender.mss_bytes and not receiver.has_early
        if receiver.take(offset, payload):
            # The first small piece of what may be a question waits for the answer; nothing else waits.
            self._ack_waits = small and self._answering and not self.ack_due
            self._answering = False
            self.ack_due = True
        elif self.state is not State.CLOSED:
            # At once and for each: three of them tell the guest what is missing (RFC 5681 4.2).
            self.send_ack()

    def _keep_alive_probe(self, offset: int, size_bytes: int) -> None:
        """A guest that asks whether we are alive wants to know it of the host's peer: ask that one too."""
        if offset == -1 and size_bytes <= 1 and not self._keeps_alive:
            self._keeps_alive = True
            with contextlib.suppress(OSError):
                self.host.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                self.host.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_IDLE_S)

    def _syn_received(self, sequence: int, ack: int, flags: int, window: int, payload: memoryview) -> None:
        if flags & TCP_RST:
            if _signed(sequence - self.receiver.next) == 0:
                self.close(abort=True)
        elif flags & TCP_SYN:
            self._send_syn()
        elif flags & TCP_ACK and _signed(ack - self.initial) == 1:
            self._begin(window << self.scale_guest)
            self._established(sequence, ack, flags, window, payload)
        elif flags & TCP_ACK:
            self.table.send_reset(self.key, sequence, ack, flags, len(payload))

    def _syn_sent(self, sequence: int, ack: int, flags: int, window: int, options: memoryview) -> None:
        acceptable = flags & TCP_ACK and _signed(ack - self.initial) == 1
        if flags & TCP_RST:
            if acceptable:
                self.close(abort=True)
        elif flags & TCP_SYN and acceptable:
            self.accept_syn(sequence, options)
            self._begin(window)
            self.ack_due = True
            self._changed()
        elif flags & TCP_ACK:
            self.table.send_reset(self.key, sequence, ack, flags, 0)

    # Opening and closing

    def accept_syn(self, sequence: int, options: memoryview) -> None:
        """Take in the guest's SYN."""
        self.guest_syn = parse_syn_options(options)
        self.receiver.next = sequence + 1
        if self.guest_syn.window_scale is not None:
            self.scale_guest, self.output.scale = self.guest_syn.window_scale, WINDOW_SCALE

    def open_to_guest(self) -> None:
        """The host asked for this connection, and the guest has not been asked yet."""
        self._send_syn()

    def host_connected(self) -> None:
        """The host's socket is connected: the guest may know."""
        self.state = State.SYN_RECEIVED
        self._send_syn()

    def _send_syn(self) -> None:
        answering = self.state is State.SYN_RECEIVED
        offers_scale = not answering or self.guest_syn.window_scale is not None
        options = syn_options(self.output.mss_max_bytes, WINDOW_SCALE if offers_scale else None)
        flags = TCP_SYN | TCP_ACK if answering else TCP_SYN
        self._syn_waits = not self.output.control(flags, self.initial, options)
        if self._syn_waits:
            # Other connections have filled the guest's buffers: the retransmission would come a second late.
            self.link.wait(self)
        self.deadline.set(self.table.loop.clock.now_ns() + self.sender.timeout.timeout_ns)

    def _begin(self, window_bytes: int) -> None:
        self.state = State.ESTABLISHED
        self._retries = 0
        self.deadline.clear()
        mss_bytes = min(self.guest_syn.mss_bytes, self.output.mss_max_bytes)
        self.sender.begin(self.initial + 1, window_bytes, mss_bytes, self.output.payload_max_bytes)
        self.table.opened(self)
        self.want_read(True)

    def host_failed(self, error: OSError) -> None:
        """The host's socket is broken: so is the guest's connection."""
        if self.state is not State.CLOSED:
            self.output.control(TCP_RST | TCP_ACK, self.sender.next)
            self.close(abort=True)

    def abort(self) -> None:
        """End it on both sides at once."""
        if self.state in (State.ESTABLISHED, State.SYN_RECEIVED, State.SYN_SENT):
            self.output.control(TCP_RST | TCP_ACK, self.sender.next)
        self.close(abort=True)

    def close(self, *, abort: bool = False) -> None:
        """Forget the connection; the guest is told nothing."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self._release(abort)
        self.deadline.close()
        self.table.closed(self)

    def _release(self, abort: bool) -> None:
        self.want_read(False)
        self.want_write(False)
        self.link.forget(self)
        self.receiver.close()
        self.sender.close()
        if abort:
            with contextlib.suppress(OSError):
                self.host.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.host.close()

    def _changed(self) -> None:
        """After any event: is it over, and what is to be done at the end of this batch?"""
        if self.state is not State.ESTABLISHED:
            return
        if self.receiver.shut and self.sender.finished:
            if self.ack_due:
                self.send_ack()
            self._release(abort=False)
            self.state = State.TIME_WAIT
            self.table.lingers(self)
            self.deadline.set(self.table.loop.clock.now_ns() + self.table.limits.tcp_time_wait_s * NS_PER_S)
        elif not self.dirty:
            self.dirty = True
            self.table.dirty.append(self)

    def finish_batch(self) -> None:
        """Send what a batch of the guest's segments made possible, and acknowledge them."""
        self.dirty = False
        self.resume()
        if self.ack_due and self._ack_waits:
            self.table.delay_ack(self)

    # The host's socket

    def want_read(self, wanted: bool) -> None:
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self.table.loop.add_reader(self.host.fileno(), self.resume)
            else:
                self.table.loop.remove_reader(self.host.fileno())

    def want_write(self, wanted: bool) -> None:
        if wanted != self._writing:
            self._writing = wanted
            if wanted:
                self.table.loop.add_writer(self.host.fileno(), self._writable)
            else:
                self.table.loop.remove_writer(self.host.fileno())

    def resume(self) -> None:
        """The host's socket can be read, or the guest or the VM has room again."""
        if self.state is State.ESTABLISHED:
            self.sender.pump()
            if self.ack_due and not self._ack_waits:
                self.acknowledge()
            self._set_deadline()
        elif self._syn_waits and self.state in (State.SYN_RECEIVED, State.SYN_SENT):
            self._send_syn()

    def acknowledge(self) -> None:
        """Send the acknowledgement that is due, if it still is."""
        if self.ack_due and self.state is State.ESTABLISHED:
            self.send_ack()

    def upload_waits(self) -> None:
        self.want_write(False)
        self.table.upload_waits(self)

    def download_waits(self) -> None:
        self.table.download_waits(self)

    def buffers_wanted(self) -> None:
        self.table.starved[self] = None

    def resume_upload(self) -> None:
        """The VM's rate allows more."""
        if self.state is State.ESTABLISHED and self.receiver.pending_bytes:
            self.want_write(True)

    def _writable(self) -> None:
        if self.state is State.CONNECTING:
            self.want_write(False)
            self.table.opener.connected(self)
            return
        self.receiver.flush()
        if self.state is not State.ESTABLISHED:
            return
        # Say that the window has opened when that lets the guest go on (RFC 9293 3.8.6.2.2).
        opened_bytes = self.receiver.window_bytes - self.output.told_window_bytes
        if opened_bytes >= min(self.table.limits.tcp_window_bytes // 4, 2 * self.sender.mss_bytes):
            self.ack_due, self._ack_waits = True, False
        self._changed()
        self.table.finish_batch()

    # What the guest gets

    def transmit(self, chunk: Chunk, start: int, size_bytes: int) -> int:
        """See `TcpOutput.data`."""
        sent = self.output.data(chunk, start, size_bytes)
        if sent:
            self.ack_due = False
            self._answering = True
        else:
            self.link.wait(self)
        return sent

    def transmit_fin(self) -> bool:
        if not self.output.control(TCP_FIN | TCP_ACK, self.sender.end):
            self.link.wait(self)
            return False
        self.ack_due = False
        return True

    def send_ack(self) -> None:
        """Acknowledge now. If the guest has no buffer, as soon as it has one."""
        self._ack_waits = False
        self.ack_due = not self.output.control(TCP_ACK, self.sender.highest)
        if self.ack_due:
            self.link.wait(self)

    def retransmitted(self) -> None:
        self.table.statistics.tcp_retransmitted += 1

    # Time

    def _set_deadline(self, *, restart: bool = False) -> None:
        """Wait for what is missing. Only news starts the wait again (RFC 6298 5.1 to 5.3)."""
        if self.state is not State.ESTABLISHED:
            return
        sender = self.sender
        probing = not sender.in_flight
        if probing and not sender.starved:
            self.deadline.clear()
        elif restart or probing is not self._probing or not self.deadline.pending:
            self._probing = probing
            wait_ns = self._probe_ns if probing else sender.timeout.timeout_ns
            self.deadline.set(self.table.loop.clock.now_ns() + wait_ns)

    def _expired(self) -> None:
        if self.state in (State.TIME_WAIT, State.CONNECTING):
            self.table.timed_out(self)
            return
        established = self.state is State.ESTABLISHED
        if established and self.link.blocked:
            # The guest does not take its frames: nothing is lost, so nothing is sent again.
            self._set_deadline()
            return
        if established and not self.sender.in_flight:
            self._probe()
            return
        self._retries += 1
        if self._retries > _RETRIES_MAX[self.state]:
            self.abort()
        elif established:
            self.sender.expired()
            self._set_deadline(restart=True)
        else:
            # A guest that was asked may not be up yet: it is asked steadily, not ever more seldom.
            if self.state is State.SYN_RECEIVED:
                self.sender.timeout.expired()
            self.retransmitted()
            self._send_syn()

    def _probe(self) -> None:
        """Ask for the guest's window, in case its update was lost. Spec: RFC 9293 3.8.6.1."""
        self.output.control(TCP_ACK, self.sender.una - 1)
        self._probe_ns = min(2 * self._probe_ns, _PROBE_MAX_NS)
        self._set_deadline()


def _signed(difference: int) -> int:
    """A difference of 32-bit sequence numbers as the nearer of its two readings."""
    return ((difference + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000


def sequence_of(near: int, sequence: int) -> int:
    """The number that is `sequence` modulo 2**32 and nearest to `near`."""
    return near + _signed(sequence - near)
