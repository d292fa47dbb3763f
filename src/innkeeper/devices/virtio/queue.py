# SPDX-License-Identifier: Apache-2.0
"""Split virtqueues, device side.

The rings stay mapped as typed memoryviews while the queue is enabled, so reading a descriptor is two index
operations and no copy. A typed view reads and writes each element as one host access, never in bytes, which
is what makes the index fields safe to share with running harts. Everything read from the guest is read once
and checked before use; whatever is wrong raises `GuestError`, and the device then needs a reset.

Spec: virtio-1.3 2.7 "Split Virtqueues". Rings are little-endian, as is every host we support.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from innkeeper.devices.ports import GuestMemory
from innkeeper.errors import GuestError
from innkeeper.spec.virtio import (
    AVAIL_F_NO_INTERRUPT,
    DESC_F_INDIRECT,
    DESC_F_NEXT,
    DESC_F_WRITE,
    DESC_SIZE_BYTES,
    QUEUE_SIZE_LIMIT,
    USED_F_NO_NOTIFY,
)

# Drivers may make an indirect table longer than the queue (Linux does), so these get a bound of their own.
INDIRECT_TABLE_MAX = 1024
# What the length of a used element can say.
CHAIN_BYTES_MAX = (1 << 32) - 1

_fence_lock = threading.Lock()


def _full_fence() -> None:
    """Order our earlier stores to a ring before our later loads from it: taking a lock is a full barrier."""
    with _fence_lock:
        pass


@dataclass
class QueueState:
    """Addresses are guest-physical. Indices count modulo 2^16 and are never read back from the guest."""

    size_max: int
    size: int = 0
    ready: bool = False
    desc_address: int = 0
    driver_address: int = 0
    device_address: int = 0
    next_avail: int = 0
    next_used: int = 0
    signalled_used: int = 0
    event_idx: bool = False
    indirect: bool = False


class Chain:
    """One buffer of the driver, as views of guest memory: what the device may read, and what it may write."""

    __slots__ = ("head", "readable", "writable")

    def __init__(self, head: int, readable: list[memoryview], writable: list[memoryview]) -> None:
        self.head = head
        self.readable = readable
        self.writable = writable


class Virtqueue:
    """One split virtqueue over `memory`; its whole state is in `state`.

    Call `enable` once the driver has set addresses and size; `pop`, `push` and the rest only after that.
    """

    def __init__(self, memory: GuestMemory, size_max: int) -> None:
        if not 0 < size_max <= QUEUE_SIZE_LIMIT or size_max & (size_max - 1):
            raise ValueError(f"a queue of {size_max} entries is not a power of two up to {QUEUE_SIZE_LIMIT}")
        self._memory = memory
        self.state = QueueState(size_max, size_max)
        self._unmap()

    def _unmap(self) -> None:
        empty = memoryview(b"")
        self._desc = self._avail = self._used_ring = self._used_head = self._avail_event = empty
        self._seen_avail = 0

    def reset(self) -> None:
        """Back to power-on state, holding no view of guest memory."""
        self.state = QueueState(self.state.size_max, self.state.size_max)
        self._unmap()

    def enable(self, *, event_idx: bool, indirect: bool) -> None:
        """Map the rings; raises `GuestError` for a size or an address that cannot be.

        Spec: virtio-1.3 2.7 "Split Virtqueues", the table of alignments and sizes.
        """
        state = self.state
        size = state.size
        if not 0 < size <= state.size_max or size & (size - 1):
            raise GuestError(f"queue size {size} is not a power of two up to {state.size_max}")
        if state.desc_address % 16 or state.driver_address % 2 or state.device_address % 4:
            raise GuestError("a virtqueue's rings are not aligned")
        desc = self._memory.read_view(state.desc_address, DESC_SIZE_BYTES * size)
        avail = self._memory.read_view(state.driver_address, 6 + 2 * size)
        used = self._memory.view(state.device_address, 6 + 8 * size)
        self._desc = desc.cast("Q")
        self._avail = avail.cast("H")
        self._used_head = used[:4].cast("H")
        self._used_ring = used[4 : 4 + 8 * size].cast("Q")
        self._avail_event = used[4 + 8 * size :].cast("H")
        state.event_idx, state.indirect = event_idx, indirect
        state.ready = True

    def has_work(self) -> bool:
        """Whether the driver has made buffers available that we have not popped."""
        return self.state.ready and int(self._avail[1]) != self.state.next_avail

    def pop(self) -> Chain | None:
        """The next available buffer, or None; raises `GuestError` if the rings make no sense.

        Spec: virtio-1.3 2.7.6 "The Virtqueue Available Ring".
        """
        state = self.state
        if not self._pending():
            return None
        head = self._avail[2 + (state.next_avail & (state.size - 1))]
        chain = self._read_chain(head)
        state.next_avail = (state.next_avail + 1) & 0xFFFF
        return chain

    def is_short(self, limit_bytes: int) -> bool:
        """Whether one buffer is available, and has at most `limit_bytes` to read. Raises as `pop` does."""
        state = self.state
        if self._pending() != 1:
            return False
        chain = self._read_chain(self._avail[2 + (state.next_avail & (state.size - 1))])
        return sum(map(len, chain.readable)) <= limit_bytes

    def _pending(self) -> int:
        """How many buffers are available."""
        state = self.state
        if not state.ready:
            return 0
        self._seen_avail = self._avail[1]
        pending: int = (self._seen_avail - state.next_avail) & 0xFFFF
        if pending > state.size:
            raise GuestError(f"the available ring offers {pending} buffers in {state.size} entries")
        return pending

    def reserve(self, room_bytes: int) -> list[tuple[int, list[memoryview]]] | None:
        """The next buffers with together `room_bytes` to write into, each its head and its segments.

        None, and nothing is taken, when there is not so much room. Take them with `push_all`.
        """
        state, desc, avail = self.state, self._desc, self._avail
        mask, following = state.size - 1, state.next_avail
        buffers: list[tuple[int, list[memoryview]]] = []
        for _ in range(self._pending()):
            head = avail[2 + (following & mask)]
            following += 1
            rest = desc[2 * head + 1] if head <= mask else 0
            if rest >> 32 & 0xFFFF == DESC_F_WRITE:
                # Nearly all are one descriptor: it is cheaper to read it here.
                room_bytes -= rest & 0xFFFF_FFFF
                buffers.append((head, [self._memory.view(desc[2 * head], rest & 0xFFFF_FFFF)]))
            else:
                chain = self._read_chain(head)
                room_bytes -= sum(map(len, chain.writable))
                buffers.append((head, chain.writable))
            if room_bytes <= 0:
                return buffers
        return None

    @property
    def was_full(self) -> bool:
        """Whether `reserve` found all that the queue can hold."""
        state = self.state
        return state.ready and (self._seen_avail - state.next_avail) & 0xFFFF == state.size

    def ask_more(self) -> bool:
        """Ask to be told of buffers behind those that `reserve` found; True if such came meanwhile."""
        state = self.state
        if not state.ready:
            return False
        if state.event_idx:
            self._avail_event[0] = self._seen_avail
        else:
            self._used_head[0] = 0
        _full_fence()
        return int(self._avail[1]) != self._seen_avail

    def push_all(self, written: Sequence[tuple[int, int]]) -> None:
        """Take what `reserve` gave and return it: the head and the bytes written of each, in that order.

        The driver sees all of them at once, or none.
        """
        state, ring = self.state, self._used_ring
        mask, used = state.size - 1, state.next_used
        for head, written_bytes in written:
            ring[used & mask] = written_bytes << 32 | head
            used += 1
        state.next_avail = (state.next_avail + len(written)) & 0xFFFF
        state.next_used = used & 0xFFFF
        self._used_head[1] = state.next_used

    def push(self, head: int, written_bytes: int) -> None:
        """Return the buffer `head` to the driver, with the number of bytes written into it from its start.

        Spec: virtio-1.3 2.7.8 "The Virtqueue Used Ring": the element is written before the index.
        """
        state = self.state
        self._used_ring[state.next_used & (state.size - 1)] = written_bytes << 32 | head
        state.next_used = (state.next_used + 1) & 0xFFFF
        self._used_head[1] = state.next_used

    def ask_notification(self) -> bool:
        """Ask to be told of the next available buffer; True if one came meanwhile and must be popped now.

        Spec: virtio-1.3 2.7.10 "Available Buffer Notification Suppression".
        """
        state = self.state
        if not state.ready:
            return False
        if state.event_idx:
            self._avail_event[0] = state.next_avail
        else:
            self._used_head[0] = 0
        _full_fence()
        return self.has_work()

    def suppress_notification(self) -> None:
        """Say that we look without being told; with event indices, not moving avail_event does it already."""
        if self.state.ready and not self.state.event_idx:
            self._used_head[0] = USED_F_NO_NOTIFY

    def wants_interrupt(self) -> bool:
        """Whether the driver wants to hear of what was pushed since this was last asked.

        Spec: virtio-1.3 2.7.7 "Used Buffer Notification Suppression".
        """
        state = self.state
        if not state.ready:
            return False
        _full_fence()
        new, old = state.next_used, state.signalled_used
        if not state.event_idx:
            wanted = new != old and not self._avail[0] & AVAIL_F_NO_INTERRUPT
        else:
            # The driver's event index lies in what we pushed: old <= used_event < new, modulo 2^16.
            used_event = self._avail[2 + state.size]
            wanted = ((new - used_event - 1) & 0xFFFF) < ((new - old) & 0xFFFF)
        state.signalled_used = new
        return wanted

    def _read_chain(self, head: int) -> Chain:
        """Follow the descriptors from `head`. Spec: virtio-1.3 2.7.5 "The Virtqueue Descriptor Table"."""
        table: Sequence[int] = self._desc
        count = unread = self.state.size
        index, total_bytes, in_indirect = head, 0, False
        readable: list[memoryview] = []
        writable: list[memoryview] = []
        view, read_view = self._memory.view, self._memory.read_view
        while True:
            if index >= count:
                raise GuestError(f"descriptor {index} is outside a table of {count}")
            address, rest = table[2 * index], table[2 * index + 1]
            length, flags = rest & 0xFFFF_FFFF, rest >> 32 & 0xFFFF
            if flags & DESC_F_INDIRECT:
                if in_indirect:
                    raise GuestError("an indirect descriptor stands in an indirect table")
                table, count = self._indirect_table(address, length, flags)
                index, unread, in_indirect = 0, count, True
                continue
            unread -= 1
            total_bytes += length
            if unread < 0 or total_bytes > CHAIN_BYTES_MAX:
                raise GuestError("a descriptor chain loops or is longer than 4 GiB")
            if flags & DESC_F_WRITE:
                if length:
                    writable.append(view(address, length))
            elif writable:
                raise GuestError("a device-readable descriptor follows a device-writable one")
            elif length:
                readable.append(read_view(address, length))
            if not flags & DESC_F_NEXT:
                return Chain(head, readable, writable)
            index = rest >> 48

    def _indirect_table(self, address: int, length: int, flags: int) -> tuple[Sequence[int], int]:
        """Spec: virtio-1.3 2.7.5.3 "Indirect Descriptors"."""
        if not self.state.indirect:
            raise GuestError("an indirect descriptor was used without VIRTIO_F_INDIRECT_DESC")
        if flags & DESC_F_NEXT:
            raise GuestError("an indirect descriptor has the NEXT flag")
        count, remainder = divmod(length, DESC_SIZE_BYTES)
        if remainder or not 0 < count <= INDIRECT_TABLE_MAX:
            raise GuestError(f"{length} bytes are no indirect table of 1..{INDIRECT_TABLE_MAX} descriptors")
        return self._memory.read_view(address, length).cast("Q"), count
