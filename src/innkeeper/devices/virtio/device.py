# SPDX-License-Identifier: Apache-2.0
"""What every virtio device has: status, features, virtqueues, interrupts, and an answer to drivers that lie.

A device derives from `VirtioDevice` and implements `serve`; a transport gives it registers and an interrupt.
A `GuestError` raised while serving never leaves the device: it sets DEVICE_NEEDS_RESET and is silent until it
is reset.

Spec: virtio-1.3 2 "Basic Facilities of a Virtio Device", 3.1 "Device Initialization".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from innkeeper.devices.ports import GuestMemory, InterruptLine
from innkeeper.devices.virtio.queue import Chain, QueueState, Virtqueue
from innkeeper.errors import GuestError
from innkeeper.spec.virtio import (
    F_EVENT_IDX,
    F_INDIRECT_DESC,
    F_VERSION_1,
    INTERRUPT_CONFIG_CHANGE,
    INTERRUPT_USED_BUFFER,
    DeviceStatus,
)

# After so many buffers a device lets others have the machine's lock, if the machine gave it `defer`.
CHAINS_PER_TURN = 64

_DRIVER_BITS = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER | DeviceStatus.FAILED
# Plain numbers: an operation on flags takes Python a microsecond, and these are looked at for each buffer.
_DRIVER_OK = int(DeviceStatus.DRIVER_OK)
_LIVE_MASK = int(DeviceStatus.DRIVER_OK | DeviceStatus.NEEDS_RESET | DeviceStatus.FAILED)


@dataclass
class VirtioState:
    """State common to all devices; `failure` says why DEVICE_NEEDS_RESET is set."""

    status: int = 0
    driver_features: int = 0
    interrupt_status: int = 0
    config_generation: int = 0
    failure: str = ""
    queues: list[QueueState] = field(default_factory=list)


class VirtioDevice:
    """A device with `queue_sizes` virtqueues that offers `features` (bit numbers) beside the common ones.

    `on_failure(reason)`, when set, hears of a driver that broke the rules.
    """

    device_type: ClassVar[int]

    def __init__(self, memory: GuestMemory, queue_sizes: Sequence[int], features: Sequence[int]) -> None:
        self.memory = memory
        self.queues = [Virtqueue(memory, size) for size in queue_sizes]
        self.features = sum(1 << bit for bit in {F_INDIRECT_DESC, F_EVENT_IDX, F_VERSION_1, *features})
        self.config = bytearray()
        self.on_failure: Callable[[str], None] | None = None
        self._line: InterruptLine = lambda level: None
        self._defer: Callable[[Callable[[], None]], None] | None = None
        self._turn_over = False
        self.state = self.power_on_state()

    def connect(self, line: InterruptLine, defer: Callable[[Callable[[], None]], None] | None) -> None:
        """Called by the transport: where interrupts go, and who runs what must wait its turn."""
        self._line = line
        self._defer = defer

    def power_on_state(self) -> VirtioState:
        """The state after reset; a device with more state overrides it."""
        return VirtioState(queues=[queue.state for queue in self.queues])

    # What a device implements.

    def serve(self, queue_index: int) -> None:
        """Work on what the driver made available in a queue; raises `GuestError` to give up on the driver."""
        raise NotImplementedError

    def write_config(self, offset: int, size_bytes: int, value: int) -> None:
        """A store into the configuration space; ignored unless a device says otherwise."""

    def started(self) -> None:
        """The driver has set DRIVER_OK."""

    def restored(self) -> None:
        """`state` and the queues are those of a snapshot now, all devices' are: a device with more checks it.

        ConfigError (`innkeeper.devices.saved.require`) for what the device cannot go on from.
        """

    # What a transport calls.

    @property
    def live(self) -> bool:
        """Whether the device may touch its queues: the driver is ready and nothing has failed."""
        return self.state.status & _LIVE_MASK == _DRIVER_OK

    def negotiated(self, feature: int) -> bool:
        """Whether the driver accepted the feature bit number `feature`."""
        return bool(self.state.driver_features >> feature & 1)

    def read_config(self, offset: int, size_bytes: int) -> int:
        """A load from the configuration space; 0 behind its end."""
        return int.from_bytes(self.config[offset : offset + size_bytes], "little")

    def set_driver_features(self, word: int, value: int) -> None:
        """Bits 32*word..32*word+31 of what the driver accepts; fixed once FEATURES_OK is set."""
        if word > 1 or self.state.status & DeviceStatus.FEATURES_OK:
            return
        shift = 32 * word
        kept = self.state.driver_features & ~(0xFFFF_FFFF << shift)
        self.state.driver_features = kept | (value & 0xFFFF_FFFF) << shift

    def set_status(self, value: int) -> None:
        """The driver writes the status register: 0 resets, bits can only be added.

        Spec: virtio-1.3 2.1 "Device Status Field", 2.2.2 and 3.1.1 (FEATURES_OK stays clear when refused).
        """
        if value == 0:
            self.reset()
            return
        state = self.state
        added = value & ~state.status
        state.status = int(state.status | added & _DRIVER_BITS)
        if added & DeviceStatus.FEATURES_OK and self._features_acceptable():
            state.status |= int(DeviceStatus.FEATURES_OK)
        if added & DeviceStatus.DRIVER_OK and state.status & DeviceStatus.FEATURES_OK:
            state.status |= _DRIVER_OK
            self._start()

    def enable_queue(self, queue_index: int) -> None:
        """The driver says that a queue's addresses are set."""

        def enable() -> None:
            if not self.state.status & DeviceStatus.FEATURES_OK:
                raise GuestError("a virtqueue was enabled before the features were agreed")
            self.queues[queue_index].enable(
                event_idx=self.negotiated(F_EVENT_IDX), indirect=self.negotiated(F_INDIRECT_DESC)
            )

        self.guarded(enable)

    def disable_queue(self, queue_index: int) -> None:
        """Stop using a queue and forget its addresses."""
        self.queues[queue_index].reset()
        self.state.queues[queue_index] = self.queues[queue_index].state

    def notify(self, queue_index: int) -> None:
        """The driver says that a queue has new buffers."""
        if queue_index < len(self.queues):
            self.serve_all(queue_index)

    def serve_all(self, queue_index: int) -> None:
        """Serve a queue until it is empty, one turn now and the rest later if the machine gave us `defer`."""
        while self.live:
            self._turn_over = False
            self.guarded(lambda: self.serve(queue_index))
            if not self._turn_over:
                break
            if self._defer is not None:
                self._defer(lambda: self.serve_all(queue_index))
                break

    def acknowledge_interrupt(self, bits: int) -> None:
        self.state.interrupt_status &= ~bits
        if not self.state.interrupt_status:
            self._line(0)

    def reset(self) -> None:
        """Power-on state, with no view of guest memory left."""
        for queue in self.queues:
            queue.reset()
        self.state = self.power_on_state()
        self._line(0)

    # What a device uses.

    def guarded(self, work: Callable[[], None]) -> None:
        """Run `work`; a `GuestError` in it ends the device until it is reset.

        Spec: virtio-1.3 2.1.2 "Device Requirements: Device Status Field".
        """
        try:
            work()
        except GuestError as error:
            self.fail(error)

    def fail(self, error: GuestError) -> None:
        """The driver broke the rules: this device is silent until it is reset."""
        state = self.state
        state.status |= int(DeviceStatus.NEEDS_RESET)
        state.failure = error.message
        if state.status & DeviceStatus.DRIVER_OK:
            self._interrupt(INTERRUPT_CONFIG_CHANGE)
        if self.on_failure is not None:
            self.on_failure(error.message)

    def drain(self, queue_index: int, handle: Callable[[Chain], int]) -> None:
        """Give each available buffer to `handle`, which returns how many bytes it wrote, and return it.

        It ends after CHAINS_PER_TURN buffers, and `serve` is called again for the rest, later if the machine
        gave us `defer`, so that a hart that keeps adding buffers cannot hold the machine's lock for ever.
        """
        queue = self.queues[queue_index]
        queue.suppress_notification()
        left = CHAINS_PER_TURN
        while left and self.live:
            chain = queue.pop()
            if chain is None:
                if not queue.ask_notification():
                    break
                continue
            queue.push(chain.head, handle(chain))
            left -= 1
        self._turn_over = not left
        self.signal(queue)

    def signal(self, queue: Virtqueue) -> None:
        """Interrupt the driver for the buffers returned, unless it said that it need not hear of them."""
        if queue.wants_interrupt():
            self._interrupt(INTERRUPT_USED_BUFFER)

    def config_changed(self) -> None:
        """Tell a running driver that the configuration space has changed.

        Spec: virtio-1.3 2.5.2 "Device Requirements: Device Configuration Space".
        """
        self.state.config_generation = (self.state.config_generation + 1) & 0xFFFF_FFFF
        if self.live:
            self._interrupt(INTERRUPT_CONFIG_CHANGE)

    def _start(self) -> None:
        self.guarded(self.started)
        # Buffers may have been made available before DRIVER_OK, when they could not be touched.
        for index, queue in enumerate(self.queues):
            if queue.has_work():
                self.notify(index)

    def _features_acceptable(self) -> bool:
        accepted = self.state.driver_features
        return not accepted & ~self.features and bool(accepted >> F_VERSION_1 & 1)

    def _interrupt(self, bits: int) -> None:
        self.state.interrupt_status |= bits
        self._line(1)
