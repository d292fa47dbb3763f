# SPDX-License-Identifier: Apache-2.0
"""A virtio device put into a state that was saved: its features are agreed and its rings mapped again."""

from __future__ import annotations

from innkeeper.devices.saved import refuse, require
from innkeeper.devices.virtio.device import VirtioDevice, VirtioState
from innkeeper.devices.virtio.queue import QueueState, Virtqueue
from innkeeper.devices.virtio.transport import MmioTransport, TransportState
from innkeeper.errors import GuestError
from innkeeper.spec.virtio import INTERRUPT_CONFIG_CHANGE, INTERRUPT_USED_BUFFER, DeviceStatus

_STATUS = int(
    DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER | DeviceStatus.DRIVER_OK | DeviceStatus.FEATURES_OK
    | DeviceStatus.NEEDS_RESET | DeviceStatus.FAILED
)  # fmt: skip
_MASK_16, _MASK_32, _MASK_64 = (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1


def restore_transport(
    transport: MmioTransport, saved: TransportState, device: VirtioState, where: str
) -> None:
    """Let a transport and its device, both just made, go on from there. The guest's RAM is in place.

    `device.restored()` is not called yet. ConfigError for a state that this device cannot have.
    """
    words = (saved.device_features_word, saved.driver_features_word, saved.queue_index)
    require(all(0 <= word <= _MASK_32 for word in words), f"{where}: a selector cannot be")
    transport.state = saved
    _restore_device(transport.device, device, where)


def _restore_device(device: VirtioDevice, saved: VirtioState, where: str) -> None:
    require(not saved.status & ~_STATUS, f"{where}: status {saved.status:#x}")
    require(
        not saved.driver_features & ~device.features,
        f"{where}: its driver uses features that this version does not offer",
    )
    require(
        not saved.interrupt_status & ~(INTERRUPT_USED_BUFFER | INTERRUPT_CONFIG_CHANGE),
        f"{where}: interrupt status {saved.interrupt_status:#x}",
    )
    require(0 <= saved.config_generation <= _MASK_32, f"{where}: generation")
    require(len(saved.queues) == len(device.queues), f"{where}: {len(saved.queues)} queues")
    for number, (queue, state) in enumerate(zip(device.queues, saved.queues, strict=True)):
        _restore_queue(queue, state, f"{where} queue {number}")
    saved.queues = [queue.state for queue in device.queues]
    device.state = saved


def _restore_queue(queue: Virtqueue, saved: QueueState, where: str) -> None:
    require(saved.size_max == queue.state.size_max, f"{where} has {saved.size_max} entries")
    require(0 <= saved.size <= _MASK_32, f"{where}: size")
    addresses = (saved.desc_address, saved.driver_address, saved.device_address)
    require(all(0 <= address <= _MASK_64 for address in addresses), f"{where}: an address cannot be")
    indices = (saved.next_avail, saved.next_used, saved.signalled_used)
    require(all(0 <= index <= _MASK_16 for index in indices), f"{where}: an index cannot be")
    queue.state = saved
    if saved.ready:
        try:
            queue.enable(event_idx=saved.event_idx, indirect=saved.indirect)
        except GuestError as error:
            raise refuse(f"{where}: {error.message}") from error
