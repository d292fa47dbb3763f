# SPDX-License-Identifier: Apache-2.0
"""The driver's side of virtio: guest memory, a register-level driver, and virtqueues that build chains.

Written from the driver requirements of virtio 1.3, independently of the device's queue code, so that each is
an oracle of the other.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.transport import MmioTransport
from innkeeper.errors import GuestError

RAM_BASE = 0x8000_0000
RAM_BYTES = 1 << 20
RINGS_BASE = RAM_BASE
RING_STRIDE_BYTES = 0x4000
BUFFERS_BASE = RAM_BASE + 0x80000

NEXT, WRITE, INDIRECT = 1, 2, 4
INDIRECT_DESC, EVENT_IDX, VERSION_1 = 1 << 28, 1 << 29, 1 << 32


class Ram:
    """Guest memory of the contract's shape over a bytearray."""

    def __init__(self, size_bytes: int = RAM_BYTES) -> None:
        self.data = bytearray(size_bytes)
        self._view = memoryview(self.data)

    def view(self, address: int, size_bytes: int) -> memoryview:
        offset = address - RAM_BASE
        if offset < 0 or size_bytes < 0 or offset + size_bytes > len(self.data):
            raise GuestError(f"{address:#x}+{size_bytes:#x} is outside RAM")
        return self._view[offset : offset + size_bytes]

    def read_view(self, address: int, size_bytes: int) -> memoryview:
        return self.view(address, size_bytes).toreadonly()

    def read(self, address: int, size_bytes: int) -> bytes:
        return bytes(self.view(address, size_bytes))

    def write(self, address: int, data: bytes | memoryview) -> None:
        self.view(address, len(data))[:] = data


@dataclass
class Segment:
    """One descriptor: bytes for the device to read, or room for it to write."""

    data: bytes = b""
    room: int = 0


class DriverQueue:
    """The driver's half of one virtqueue; rings at fixed places, buffers from `Driver.allocate`."""

    def __init__(self, ram: Ram, index: int, size: int, event_idx: bool) -> None:
        base = RINGS_BASE + RING_STRIDE_BYTES * index
        self.ram, self.index, self.size, self.event_idx = ram, index, size, event_idx
        self.desc, self.avail, self.used = base, base + 0x2000, base + 0x3000
        self._free = list(range(size))
        self._avail_index = 0
        self._used_index = 0
        self._chains: dict[int, tuple[list[int], list[tuple[int, int]]]] = {}

    def descriptor(self, index: int, address: int, length: int, flags: int = 0, next_index: int = 0) -> None:
        """Write one raw descriptor."""
        self.ram.write(self.desc + 16 * index, struct.pack("<QIHH", address, length, flags, next_index))

    def offer(self, head: int) -> None:
        """Put a descriptor's index into the available ring and move the ring's index."""
        self.ram.write(self.avail + 4 + 2 * (self._avail_index % self.size), struct.pack("<H", head))
        self._avail_index = (self._avail_index + 1) & 0xFFFF
        self.ram.write(self.avail + 2, struct.pack("<H", self._avail_index))

    def add(self, driver: "Driver", segments: Sequence[Segment], indirect: bool = False) -> int:
        """Make a buffer available; returns its head."""
        placed = []
        for segment in segments:
            length = segment.room or len(segment.data)
            address = driver.allocate(length)
            self.ram.write(address, segment.data or bytes(length))
            placed.append((address, length, WRITE if segment.room else 0))
        count = 1 if indirect else len(placed)
        indices = [self._free.pop(0) for _ in range(count)]
        if indirect:
            table = b"".join(
                struct.pack("<QIHH", address, length, flags | (NEXT if i + 1 < len(placed) else 0), i + 1)
                for i, (address, length, flags) in enumerate(placed)
            )
            address = driver.allocate(len(table))
            self.ram.write(address, table)
            self.descriptor(indices[0], address, len(table), INDIRECT)
        else:
            for i, (address, length, flags) in enumerate(placed):
                last = i + 1 == len(placed)
                self.descriptor(
                    indices[i], address, length, flags | (0 if last else NEXT), 0 if last else indices[i + 1]
                )
        self._chains[indices[0]] = (indices, [(a, n) for a, n, flags in placed if flags & WRITE])
        self.offer(indices[0])
        return indices[0]

    def collect(self) -> list[tuple[int, int, bytes]]:
        """(head, used length, contents of the writable segments) of each buffer returned since last time."""
        done = []
        (used_index,) = struct.unpack("<H", self.ram.read(self.used + 2, 2))
        while self._used_index != used_index:
            slot = self.used + 4 + 8 * (self._used_index % self.size)
            head, length = struct.unpack("<II", self.ram.read(slot, 8))
            indices, writable = self._chains.pop(head)
            self._free += indices
            done.append((head, length, b"".join(self.ram.read(a, n) for a, n in writable)))
            self._used_index = (self._used_index + 1) & 0xFFFF
        return done

    def set_used_event(self, value: int) -> None:
        self.ram.write(self.avail + 4 + 2 * self.size, struct.pack("<H", value & 0xFFFF))

    def avail_event(self) -> int:
        return int(struct.unpack("<H", self.ram.read(self.used + 4 + 8 * self.size, 2))[0])

    def set_no_interrupt(self, value: bool) -> None:
        self.ram.write(self.avail, struct.pack("<H", int(value)))

    def no_notify(self) -> int:
        return int(struct.unpack("<H", self.ram.read(self.used, 2))[0])


class Driver:
    """A driver that talks to `device` through its MMIO registers only."""

    def __init__(
        self,
        ram: Ram,
        device: VirtioDevice,
        *,
        defer: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self.ram, self.device = ram, device
        self.level = 0
        self.transport = MmioTransport(device, self._drive, defer=defer)
        self.queues: list[DriverQueue] = []
        self._next = BUFFERS_BASE

    def _drive(self, level: int) -> None:
        self.level = level

    def get(self, register: int) -> int:
        return self.transport.read(register, 4)

    def put(self, register: int, value: int) -> None:
        self.transport.write(register, 4, value)

    def allocate(self, length: int) -> int:
        """Room for a buffer; old room is reused after half a megabyte."""
        if self._next + length > RAM_BASE + RAM_BYTES:
            self._next = BUFFERS_BASE
        address, self._next = self._next, self._next + (length + 15 & ~15)
        return address

    def offered(self) -> int:
        features = 0
        for word in range(2):
            self.put(0x014, word)
            features |= self.get(0x010) << 32 * word
        return features

    def negotiate(self, features: int) -> int:
        """Steps 1 to 6 of virtio-1.3 3.1.1; returns the status after FEATURES_OK."""
        self.put(0x070, 0)
        self.put(0x070, 1)
        self.put(0x070, 3)
        for word in range(2):
            self.put(0x024, word)
            self.put(0x020, features >> 32 * word & 0xFFFF_FFFF)
        self.put(0x070, 11)
        return self.get(0x070)

    def set_queue(self, index: int, size: int, desc: int, avail: int, used: int) -> None:
        self.put(0x030, index)
        self.put(0x038, size)
        for register, address in ((0x080, desc), (0x090, avail), (0x0A0, used)):
            self.put(register, address & 0xFFFF_FFFF)
            self.put(register + 4, address >> 32)
        self.put(0x044, 1)

    def start(self, features: int | None = None, size: int = 16) -> "Driver":
        """Negotiate (everything offered unless told otherwise), set up all queues, DRIVER_OK."""
        accepted = self.offered() if features is None else features | VERSION_1
        assert self.negotiate(accepted) & 8
        self.queues = []
        for index in range(len(self.device.queues)):
            queue = DriverQueue(self.ram, index, size, bool(accepted & EVENT_IDX))
            self.ram.write(queue.desc, bytes(RING_STRIDE_BYTES))
            self.set_queue(index, size, queue.desc, queue.avail, queue.used)
            self.queues.append(queue)
        self.put(0x070, 15)
        return self

    def submit(self, queue_index: int, *segments: Segment, indirect: bool = False) -> int:
        """Make a buffer available and notify."""
        head = self.queues[queue_index].add(self, segments, indirect)
        self.put(0x050, queue_index)
        return head

    def interrupt(self) -> int:
        """Read and acknowledge the interrupt status."""
        bits = self.get(0x060)
        self.put(0x064, bits)
        return bits

    @property
    def needs_reset(self) -> bool:
        return bool(self.get(0x070) & 64)
