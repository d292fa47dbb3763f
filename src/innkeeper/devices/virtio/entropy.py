# SPDX-License-Identifier: Apache-2.0
"""virtio entropy device.

Spec: virtio-1.3 5.4 "Entropy Device".
"""

from collections.abc import Callable

from innkeeper.devices.ports import GuestMemory
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.queue import Chain
from innkeeper.spec.virtio import DEVICE_ENTROPY

# A buffer may be answered in part: 5.4.6.2 asks for one byte or more.
REQUEST_LIMIT_BYTES = 65536

_QUEUE_SIZE = 16


class VirtioEntropy(VirtioDevice):
    """Fills the guest's buffers from `read_bytes(count)`, which returns exactly `count` random bytes."""

    device_type = DEVICE_ENTROPY

    def __init__(self, memory: GuestMemory, read_bytes: Callable[[int], bytes]) -> None:
        super().__init__(memory, [_QUEUE_SIZE], ())
        self._read_bytes = read_bytes

    def serve(self, queue_index: int) -> None:
        self.drain(queue_index, self._fill)

    def _fill(self, chain: Chain) -> int:
        filled = 0
        for segment in chain.writable:
            count = min(len(segment), REQUEST_LIMIT_BYTES - filled)
            segment[:count] = self._read_bytes(count)
            filled += count
            if filled == REQUEST_LIMIT_BYTES:
                break
        return filled
