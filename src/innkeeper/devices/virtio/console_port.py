# SPDX-License-Identifier: Apache-2.0
"""One port of a virtio console, seen from the host.

Spec: virtio-1.3 5.3.6 "Device Operation".
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

INPUT_LIMIT_BYTES = 65536


@dataclass(frozen=True)
class PortConfig:
    """A port as the guest finds it: /dev/virtio-ports/`name`, and a terminal (hvc) if `is_console`."""

    name: str
    is_console: bool = False


@dataclass
class PortState:
    """`input` is what the host has sent and the guest has no buffer for yet.

    `guest_ready`: the guest's driver knows the port; `announced_open`: what it was told of the host's end.
    """

    guest_ready: bool = False
    guest_open: bool = False
    announced_open: bool = False
    input: bytearray = field(default_factory=bytearray)


class PortOwner(Protocol):
    """What a port needs from the console device it belongs to."""

    def port_state(self, number: int) -> PortState: ...

    def deliver(self, port: "ConsolePort") -> None: ...

    def announce_open(self, port: "ConsolePort") -> None: ...

    def notify(self, queue_index: int) -> None: ...


class ConsolePort:
    """The host's end of one port. The callbacks may be set at any time; each has no effect until then.

    `on_output(data)`: the guest wrote. `on_open(is_open)`: the guest opened or closed its end.
    `on_space()`: `receive` had refused bytes and there is room again.
    """

    def __init__(self, device: PortOwner, number: int, config: PortConfig) -> None:
        self._device = device
        self.number = number
        self.config = config
        self.on_output: Callable[[bytes], None] = lambda data: None
        self.on_open: Callable[[bool], None] = lambda is_open: None
        self.on_space: Callable[[], None] = lambda: None
        self.is_host_open = config.is_console
        self.output_paused = False
        self._space_wanted = False
        first = 0 if number == 0 else 2 * number + 2
        self.receive_queue, self.transmit_queue = first, first + 1

    @property
    def state(self) -> PortState:
        return self._device.port_state(self.number)

    @property
    def is_guest_open(self) -> bool:
        return self.state.guest_open

    def receive(self, data: bytes) -> int:
        """Send `data` to the guest; returns how many of its first bytes were taken.

        At most INPUT_LIMIT_BYTES wait undelivered, also while the guest has not opened the port.
        """
        state = self.state
        accepted = min(len(data), INPUT_LIMIT_BYTES - len(state.input))
        state.input += memoryview(data)[:accepted]
        self._space_wanted |= accepted < len(data)
        self._device.deliver(self)
        return accepted

    def receive_whole(self, data: bytes) -> bool:
        """Send all of `data`, up to INPUT_LIMIT_BYTES, or nothing: then `on_space` says when to try again."""
        if len(data) > INPUT_LIMIT_BYTES - len(self.state.input):
            self._space_wanted = True
            return False
        self.receive(data)
        return True

    def forget_input(self) -> None:
        """Drop what the guest has no buffer for yet."""
        self.state.input.clear()

    def set_open(self, is_open: bool) -> None:
        """Open or close the host's end. The guest's readers see the end once all input is delivered."""
        self.is_host_open = is_open
        self._device.announce_open(self)

    def pause_output(self, paused: bool) -> None:
        """While paused the guest's output stays in its queue, so that its writers block."""
        self.output_paused = paused
        if not paused:
            self._device.notify(self.transmit_queue)

    def offer_space(self) -> None:
        """Called by the device when input has moved on."""
        if self._space_wanted and len(self.state.input) <= INPUT_LIMIT_BYTES // 2:
            self._space_wanted = False
            self.on_space()
