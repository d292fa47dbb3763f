# SPDX-License-Identifier: Apache-2.0
"""virtio console with several named ports, each a byte stream in both directions.

Queues 0 and 1 belong to port 0, 2 and 3 carry control messages, and port n > 0 has queues 2n+2 and 2n+3.
Nothing is lost: what the guest has no buffer for waits in the port, bounded, and the host keeps the rest.

Spec: virtio-1.3 5.3 "Console Device".
"""

import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from innkeeper.devices.ports import GuestMemory
from innkeeper.devices.saved import require
from innkeeper.devices.virtio.console_port import INPUT_LIMIT_BYTES, ConsolePort, PortConfig, PortState
from innkeeper.devices.virtio.device import VirtioDevice, VirtioState
from innkeeper.devices.virtio.queue import Chain
from innkeeper.errors import GuestError
from innkeeper.spec.virtio import (
    CONSOLE_CONTROL_BYTES,
    CONSOLE_EMERG_WRITE_OFFSET,
    CONSOLE_F_EMERG_WRITE,
    CONSOLE_F_MULTIPORT,
    CONSOLE_F_SIZE,
    DEVICE_CONSOLE,
    ConsoleEvent,
)

OUTPUT_BUFFER_LIMIT_BYTES = 1 << 20
__all__ = ["ConsolePort", "PortConfig", "VirtioConsole"]

# A guest that repeats PORT_READY without reading the answers must not make us collect them.
CONTROL_LIMIT_MESSAGES = 1024

_QUEUE_SIZE = 128
_CONTROL_TO_GUEST, _CONTROL_FROM_GUEST = 2, 3
_CONTROL = struct.Struct("<IHH")
_SIZE = struct.Struct("<HH")
_CONFIG = struct.Struct("<HHII")


@dataclass
class ConsoleState(VirtioState):
    """`control` are messages that wait for a buffer of the control queue."""

    ports: list[PortState] = field(default_factory=list)
    control: deque[bytes] = field(default_factory=deque)


class VirtioConsole(VirtioDevice):
    """A console device with `ports`, of which the first is port 0; `cols` and `rows` are in characters."""

    device_type = DEVICE_CONSOLE
    state: ConsoleState

    def __init__(
        self, memory: GuestMemory, ports: Sequence[PortConfig], *, cols: int = 80, rows: int = 24
    ) -> None:
        if not ports:
            raise ValueError("a console device has at least one port")
        self._ports = [ConsolePort(self, number, config) for number, config in enumerate(ports)]
        queue_count = 4 + 2 * (len(ports) - 1)
        features = (CONSOLE_F_SIZE, CONSOLE_F_MULTIPORT, CONSOLE_F_EMERG_WRITE)
        super().__init__(memory, [_QUEUE_SIZE] * queue_count, features)
        self._port_of_queue = {port.receive_queue: port for port in self._ports}
        self._port_of_queue |= {port.transmit_queue: port for port in self._ports}
        self._cols, self._rows = cols, rows
        self._write_size()

    def port(self, number: int) -> ConsolePort:
        return self._ports[number]

    def port_named(self, name: str) -> ConsolePort:
        """Raises `KeyError` when there is no such port."""
        for port in self._ports:
            if port.config.name == name:
                return port
        raise KeyError(name)

    @property
    def port_names(self) -> list[str]:
        """Of all ports, in their order."""
        return [port.config.name for port in self._ports]

    def port_state(self, number: int) -> PortState:
        return self.state.ports[number]

    def resize(self, cols: int, rows: int) -> None:
        """The terminal on the host's side has changed its size."""
        self._cols, self._rows = cols & 0xFFFF, rows & 0xFFFF
        self._write_size()
        self.config_changed()
        for port in self._ports:
            if port.config.is_console and port.state.guest_open:
                self._send_size(port)

    def power_on_state(self) -> ConsoleState:
        ports = [PortState() for _ in self._ports]
        return ConsoleState(queues=[queue.state for queue in self.queues], ports=ports)

    def reset(self) -> None:
        """Also closes the guest's end of every port, of which the host is told.

        Input for a port that the guest had open is dropped; input that waits for the first opening is kept,
        because a driver begins with a reset.
        """
        before = self.state.ports
        super().reset()
        for port, old in zip(self._ports, before, strict=True):
            if not old.guest_open:
                port.state.input = old.input
                continue
            port.on_open(False)
            port.offer_space()

    def started(self) -> None:
        if not self.negotiated(CONSOLE_F_MULTIPORT):
            self._set_guest_open(self._ports[0], True)

    def restored(self) -> None:
        """The host hears which ports the guest has open; the guest, what has changed at the host's end."""
        state = self.state
        require(len(state.ports) == len(self._ports), f"a console with {len(state.ports)} ports")
        require(
            len(state.control) <= CONTROL_LIMIT_MESSAGES
            and all(len(port.input) <= INPUT_LIMIT_BYTES for port in state.ports),
            "a console with more input than it takes",
        )
        for port in self._ports:
            if port.state.guest_open:
                port.on_open(True)
            self.announce_open(port)

    def write_config(self, offset: int, size_bytes: int, value: int) -> None:
        """Spec: virtio-1.3 5.3.4, emerg_wr: a character for port 0, before anything is set up."""
        if offset == CONSOLE_EMERG_WRITE_OFFSET:
            self._ports[0].on_output(bytes((value & 0xFF,)))

    def serve(self, queue_index: int) -> None:
        multiport = self.negotiated(CONSOLE_F_MULTIPORT)
        if queue_index == _CONTROL_FROM_GUEST:
            if multiport:
                self.drain(queue_index, self._handle_control)
        elif queue_index == _CONTROL_TO_GUEST:
            self._flush_control()
        else:
            port = self._port_of_queue[queue_index]
            if queue_index == port.receive_queue:
                self._fill(port)
            elif not port.output_paused and (multiport or port.number == 0):
                self._take_output(port)

    def deliver(self, port: ConsolePort) -> None:
        """Move waiting input into the guest's buffers."""
        if port.state.input and self.live:
            self.guarded(lambda: self._fill(port))

    def announce_open(self, port: ConsolePort) -> None:
        """Tell the guest when the host's end opens, and when it has closed and all input is delivered.

        Spec: virtio-1.3 5.3.6.2 "Multiport Device Operation", VIRTIO_CONSOLE_PORT_OPEN.
        """
        state, is_open = port.state, port.is_host_open
        if state.guest_ready and state.announced_open != is_open and (is_open or not state.input):
            state.announced_open = is_open
            self._send(port.number, ConsoleEvent.PORT_OPEN, int(is_open))

    def _write_size(self) -> None:
        self.config = bytearray(_CONFIG.pack(self._cols, self._rows, len(self._ports), 0))

    def _take_output(self, port: ConsolePort) -> None:
        """What waits goes to the host in one piece."""
        parts: list[bytes] = []

        def collect(chain: Chain) -> int:
            # The buffer is the guest's again once it is pushed, so what it holds is copied here.
            if sum(map(len, chain.readable)) > OUTPUT_BUFFER_LIMIT_BYTES:
                raise GuestError("a console buffer is larger than 1 MiB")
            parts.extend(map(bytes, chain.readable))
            return 0

        try:
            self.drain(port.transmit_queue, collect)
        finally:
            if parts:
                port.on_output(b"".join(parts))

    def _fill(self, port: ConsolePort) -> None:
        state, queue = port.state, self.queues[port.receive_queue]
        waiting = state.input
        while waiting and state.guest_open:
            chain = queue.pop()
            if chain is None:
                if queue.ask_notification():
                    continue
                break
            written = _scatter(chain.writable, waiting)
            del waiting[:written]
            queue.push(chain.head, written)
        self.signal(queue)
        if not port.is_host_open:
            self.announce_open(port)
        port.offer_space()

    def _handle_control(self, chain: Chain) -> int:
        """One message of the guest. The specification has no answer to senseless ones: they are dropped."""
        message = b"".join(segment[:CONSOLE_CONTROL_BYTES] for segment in chain.readable)
        if len(message) >= CONSOLE_CONTROL_BYTES:
            number, event, value = _CONTROL.unpack_from(message)
            if event == ConsoleEvent.DEVICE_READY:
                if value:
                    for port in self._ports:
                        self._send(port.number, ConsoleEvent.PORT_ADD, 1)
            elif number < len(self._ports):
                self._handle_port_event(self._ports[number], event, value)
        return 0

    def _handle_port_event(self, port: ConsolePort, event: int, value: int) -> None:
        if event == ConsoleEvent.PORT_READY and value:
            name = port.config.name.encode()
            self._send(port.number, ConsoleEvent.PORT_NAME, 1, name)
            if port.config.is_console:
                self._send(port.number, ConsoleEvent.CONSOLE_PORT, 1)
                self._send_size(port)
            port.state.guest_ready = True
            port.state.announced_open = False
            self.announce_open(port)
        elif event == ConsoleEvent.PORT_OPEN:
            self._set_guest_open(port, bool(value))

    def _set_guest_open(self, port: ConsolePort, is_open: bool) -> None:
        if port.state.guest_open != is_open:
            port.state.guest_open = is_open
            port.on_open(is_open)
            self.deliver(port)

    def _send_size(self, port: ConsolePort) -> None:
        # The specification's order. Linux read rows first until 6.15 (commit 5326ab737a47 and its backports).
        self._send(port.number, ConsoleEvent.RESIZE, 0, _SIZE.pack(self._cols, self._rows))

    def _send(self, number: int, event: ConsoleEvent, value: int, payload: bytes = b"") -> None:
        """Queue a control message for the guest; without MULTIPORT there is nobody to read it."""
        if not self.live or not self.negotiated(CONSOLE_F_MULTIPORT):
            return
        if len(self.state.control) < CONTROL_LIMIT_MESSAGES:
            self.state.control.append(_CONTROL.pack(number, event, value) + payload)
        self.guarded(self._flush_control)

    def _flush_control(self) -> None:
        queue, waiting = self.queues[_CONTROL_TO_GUEST], self.state.control
        while waiting:
            chain = queue.pop()
            if chain is None:
                if queue.ask_notification():
                    continue
                break
            queue.push(chain.head, _scatter(chain.writable, waiting.popleft()))
        self.signal(queue)


def _scatter(target: list[memoryview], data: bytes | bytearray) -> int:
    """Copy as much of `data` into `target` as fits; returns how many bytes that is, at least one."""
    if not target:
        raise GuestError("a receive buffer has no room")
    done = 0
    with memoryview(data) as source:
        for segment in target:
            part = source[done : done + len(segment)]
            segment[: len(part)] = part
            done += len(part)
            if done == len(source):
                break
    return done
