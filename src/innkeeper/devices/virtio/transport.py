# SPDX-License-Identifier: Apache-2.0
"""virtio over MMIO, version 2 (modern) only: the registers in front of a device.

Spec: virtio-1.3 4.2 "Virtio Over MMIO".
"""

from collections.abc import Callable
from dataclasses import dataclass

from innkeeper.devices.ports import InterruptLine
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.queue import QueueState
from innkeeper.spec.virtio import MMIO_CONFIG_OFFSET, MMIO_MAGIC, MMIO_VERSION, MmioRegister

VENDOR_ID = 0x4B4E_4E49  # "INNK"

_MASK_32 = 0xFFFF_FFFF
_ADDRESS_FIELDS = {
    MmioRegister.QUEUE_DESC_LOW: ("desc_address", 0),
    MmioRegister.QUEUE_DESC_HIGH: ("desc_address", 32),
    MmioRegister.QUEUE_DRIVER_LOW: ("driver_address", 0),
    MmioRegister.QUEUE_DRIVER_HIGH: ("driver_address", 32),
    MmioRegister.QUEUE_DEVICE_LOW: ("device_address", 0),
    MmioRegister.QUEUE_DEVICE_HIGH: ("device_address", 32),
}
# A region that does not exist has length and base of all ones: virtio-1.3 4.2.2, SHMLen.
_SHM_REGISTERS = range(MmioRegister.SHM_LEN_LOW, MmioRegister.SHM_BASE_HIGH + 1)


@dataclass
class TransportState:
    """Which half of the features and which queue the next accesses mean."""

    device_features_word: int = 0
    driver_features_word: int = 0
    queue_index: int = 0


class MmioTransport:
    """The MMIO registers of `device`, whose interrupt goes out on `line`.

    Registers are read and written as aligned 32-bit words; other accesses to them read 0 and write nothing.
    The configuration space takes accesses of 1, 2, 4 and 8 bytes.

    `defer(work)` runs `work` later with the machine's lock held; without it a device goes on until its queue
    is empty. The device's own state is `device.state`.
    """

    def __init__(
        self,
        device: VirtioDevice,
        line: InterruptLine,
        *,
        defer: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self.device = device
        self.state = TransportState()
        device.connect(line, defer)

    def reset(self) -> None:
        self.state = TransportState()
        self.device.reset()

    def read(self, offset: int, size_bytes: int) -> int:
        if offset >= MMIO_CONFIG_OFFSET:
            return self.device.read_config(offset - MMIO_CONFIG_OFFSET, size_bytes)
        if size_bytes != 4 or offset & 3:
            return 0
        # The two registers that a driver reads in its interrupt handler come first.
        if offset == MmioRegister.INTERRUPT_STATUS:
            return self.device.state.interrupt_status
        if offset == MmioRegister.STATUS:
            return self.device.state.status
        return self._read_other(offset)

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        if offset >= MMIO_CONFIG_OFFSET:
            self.device.write_config(offset - MMIO_CONFIG_OFFSET, size_bytes, value)
            return
        if size_bytes != 4 or offset & 3:
            return
        value &= _MASK_32
        if offset == MmioRegister.QUEUE_NOTIFY:
            self.device.notify(value)
        elif offset == MmioRegister.INTERRUPT_ACK:
            self.device.acknowledge_interrupt(value)
        elif offset == MmioRegister.STATUS:
            self._write_status(value)
        elif offset == MmioRegister.DEVICE_FEATURES_SEL:
            self.state.device_features_word = value
        elif offset == MmioRegister.DRIVER_FEATURES_SEL:
            self.state.driver_features_word = value
        elif offset == MmioRegister.DRIVER_FEATURES:
            self.device.set_driver_features(self.state.driver_features_word, value)
        elif offset == MmioRegister.QUEUE_SEL:
            self.state.queue_index = value
        else:
            self._write_queue(offset, value)

    def _read_other(self, offset: int) -> int:
        device = self.device
        if offset == MmioRegister.MAGIC_VALUE:
            return MMIO_MAGIC
        if offset == MmioRegister.VERSION:
            return MMIO_VERSION
        if offset == MmioRegister.DEVICE_ID:
            return device.device_type
        if offset == MmioRegister.VENDOR_ID:
            return VENDOR_ID
        if offset == MmioRegister.DEVICE_FEATURES:
            word = self.state.device_features_word
            return device.features >> 32 * word & _MASK_32 if word < 2 else 0
        if offset == MmioRegister.CONFIG_GENERATION:
            return device.state.config_generation
        if offset in _SHM_REGISTERS:
            return _MASK_32
        queue = self._selected()
        if queue is None:
            return 0
        if offset == MmioRegister.QUEUE_SIZE_MAX:
            return queue.size_max
        return int(queue.ready) if offset == MmioRegister.QUEUE_READY else 0

    def _selected(self) -> QueueState | None:
        """State of the selected queue, or None when the device has no such queue."""
        queues, index = self.device.queues, self.state.queue_index
        return queues[index].state if index < len(queues) else None

    def _write_status(self, value: int) -> None:
        if value == 0:
            self.reset()
        else:
            self.device.set_status(value)

    def _write_queue(self, offset: int, value: int) -> None:
        """The registers of the selected queue; its size and addresses are fixed while it is enabled."""
        queue = self._selected()
        if queue is None:
            return
        if offset == MmioRegister.QUEUE_READY:
            if not value & 1:
                self.device.disable_queue(self.state.queue_index)
            elif not queue.ready:
                self.device.enable_queue(self.state.queue_index)
        elif queue.ready:
            return
        elif offset == MmioRegister.QUEUE_SIZE:
            queue.size = value
        elif offset in _ADDRESS_FIELDS:
            name, shift = _ADDRESS_FIELDS[MmioRegister(offset)]
            kept = getattr(queue, name) & ~(_MASK_32 << shift)
            setattr(queue, name, kept | value << shift)
