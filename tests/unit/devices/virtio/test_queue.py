# SPDX-License-Identifier: Apache-2.0
"""Split virtqueues against the driver's side: chains, notifications, and rings that lie."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.devices.virtio.queue import Virtqueue
from innkeeper.errors import GuestError
from tests.unit.devices.virtio.driver import (
    BUFFERS_BASE,
    INDIRECT,
    NEXT,
    RAM_BASE,
    RAM_BYTES,
    WRITE,
    DriverQueue,
    Ram,
)

SIZE = 8


def queue_pair(*, event_idx: bool = False, indirect: bool = True) -> tuple[Virtqueue, DriverQueue, Ram]:
    ram = Ram()
    driver = DriverQueue(ram, 0, SIZE, event_idx)
    queue = Virtqueue(ram, 64)
    state = queue.state
    state.size = SIZE
    state.desc_address, state.driver_address, state.device_address = driver.desc, driver.avail, driver.used
    queue.enable(event_idx=event_idx, indirect=indirect)
    return queue, driver, ram


def test_a_chain_gives_readable_then_writable_views_of_guest_memory():
    queue, driver, ram = queue_pair()
    ram.write(BUFFERS_BASE, b"abcdef")
    driver.descriptor(3, BUFFERS_BASE, 2, NEXT, 5)
    driver.descriptor(5, BUFFERS_BASE + 2, 4, NEXT, 0)
    driver.descriptor(0, BUFFERS_BASE + 100, 10, WRITE)
    driver.offer(3)
    chain = queue.pop()
    assert chain is not None and chain.head == 3
    assert [bytes(view) for view in chain.readable] == [b"ab", b"cdef"]
    chain.writable[0][:3] = b"xyz"
    assert ram.read(BUFFERS_BASE + 100, 4) == b"xyz\0"
    assert queue.pop() is None
    queue.push(3, 3)
    assert ram.read(driver.used + 2, 10) == struct.pack("<HII", 1, 3, 3)


def test_an_indirect_table_may_follow_direct_descriptors_and_be_longer_than_the_queue():
    queue, driver, ram = queue_pair()
    table = b"".join(
        struct.pack("<QIHH", BUFFERS_BASE + i, 1, NEXT if i < 19 else 0, i + 1) for i in range(20)
    )
    ram.write(BUFFERS_BASE, bytes(range(65, 91)))
    ram.write(BUFFERS_BASE + 0x100, table)
    driver.descriptor(0, BUFFERS_BASE + 20, 3, NEXT, 1)
    driver.descriptor(1, BUFFERS_BASE + 0x100, len(table), INDIRECT)
    driver.offer(0)
    chain = queue.pop()
    assert chain is not None
    assert b"".join(chain.readable) == b"UVWABCDEFGHIJKLMNOPQRST"


def test_zero_length_descriptors_are_passed_over():
    queue, driver, _ = queue_pair()
    driver.descriptor(0, 0, 0, NEXT, 1)
    driver.descriptor(1, BUFFERS_BASE, 4, WRITE)
    driver.offer(0)
    chain = queue.pop()
    assert chain is not None and chain.readable == [] and len(chain.writable) == 1


BAD_CHAINS = {
    "loop": [(BUFFERS_BASE, 1, NEXT, 1), (BUFFERS_BASE, 1, NEXT, 0)],
    "self loop": [(BUFFERS_BASE, 1, NEXT, 0)],
    "loop of empty descriptors": [(0, 0, NEXT, 0)],
    "next outside the table": [(BUFFERS_BASE, 1, NEXT, SIZE)],
    "address below RAM": [(RAM_BASE - 1, 2, 0, 0)],
    "end behind RAM": [(RAM_BASE + RAM_BYTES - 1, 2, 0, 0)],
    "address at the end of 64 bits": [(2**64 - 1, 2, 0, 0)],
    "length of all ones": [(BUFFERS_BASE, 2**32 - 1, WRITE, 0)],
    "readable after writable": [(BUFFERS_BASE, 1, WRITE | NEXT, 1), (BUFFERS_BASE, 1, 0, 0)],
    "indirect with next": [(BUFFERS_BASE, 16, INDIRECT | NEXT, 1)],
    "indirect of odd length": [(BUFFERS_BASE, 17, INDIRECT, 0)],
    "empty indirect": [(BUFFERS_BASE, 0, INDIRECT, 0)],
    "huge indirect": [(BUFFERS_BASE, 16 * 4096, INDIRECT, 0)],
    "indirect outside RAM": [(RAM_BASE + RAM_BYTES - 8, 16, INDIRECT, 0)],
}


@pytest.mark.parametrize("descriptors", BAD_CHAINS.values(), ids=BAD_CHAINS.keys())
def test_a_bad_chain_is_refused(descriptors):
    queue, driver, _ = queue_pair()
    for index, descriptor in enumerate(descriptors):
        driver.descriptor(index, *descriptor)
    driver.offer(0)
    with pytest.raises(GuestError):
        queue.pop()


def test_a_nested_or_looping_indirect_table_is_refused():
    for entry in ((BUFFERS_BASE, 16, INDIRECT, 0), (BUFFERS_BASE, 16, NEXT, 0), (BUFFERS_BASE, 16, NEXT, 1)):
        queue, driver, ram = queue_pair()
        ram.write(BUFFERS_BASE, struct.pack("<QIHH", *entry))
        driver.descriptor(0, BUFFERS_BASE, 16, INDIRECT)
        driver.offer(0)
        with pytest.raises(GuestError):
            queue.pop()


def test_indirect_without_the_feature_is_refused():
    queue, driver, _ = queue_pair(indirect=False)
    driver.descriptor(0, BUFFERS_BASE, 16, INDIRECT)
    driver.offer(0)
    with pytest.raises(GuestError):
        queue.pop()


def test_an_available_index_too_far_ahead_or_a_head_outside_the_table_is_refused():
    queue, driver, ram = queue_pair()
    ram.write(driver.avail + 2, struct.pack("<H", SIZE + 1))
    with pytest.raises(GuestError):
        queue.pop()
    queue, driver, _ = queue_pair()
    driver.offer(SIZE)
    with pytest.raises(GuestError):
        queue.pop()


@pytest.mark.parametrize("size", [0, 3, 128])
def test_sizes_that_are_no_power_of_two_or_too_large_are_refused(size):
    queue, _, _ = queue_pair()
    queue.state.size = size
    with pytest.raises(GuestError):
        queue.enable(event_idx=False, indirect=False)


@pytest.mark.parametrize("name,address", [
    ("desc_address", RAM_BASE + 8), ("driver_address", RAM_BASE + 1), ("device_address", RAM_BASE + 2),
    ("desc_address", RAM_BASE + RAM_BYTES - 16), ("driver_address", 0), ("device_address", 2**64 - 4),
])  # fmt: skip
def test_rings_misaligned_or_outside_ram_are_refused(name, address):
    queue, _, _ = queue_pair()
    setattr(queue.state, name, address)
    with pytest.raises(GuestError):
        queue.enable(event_idx=False, indirect=False)


def test_flags_suppress_notifications_and_interrupts_without_event_index():
    queue, driver, _ = queue_pair()
    queue.suppress_notification()
    assert driver.no_notify() == 1
    assert not queue.ask_notification()
    assert driver.no_notify() == 0
    assert not queue.wants_interrupt(), "nothing was returned"
    queue.push(0, 0)
    assert queue.wants_interrupt()
    driver.set_no_interrupt(True)
    queue.push(0, 0)
    assert not queue.wants_interrupt()


def test_asking_for_a_notification_tells_of_a_buffer_that_came_meanwhile():
    queue, driver, _ = queue_pair(event_idx=True)
    driver.descriptor(0, BUFFERS_BASE, 1)
    assert not queue.ask_notification()
    assert driver.avail_event() == 0
    driver.offer(0)
    assert queue.ask_notification()
    queue.pop()
    assert not queue.ask_notification()
    assert driver.avail_event() == 1


@given(
    start=st.integers(0, 0xFFFF),
    batches=st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 0xFFFF)), max_size=20),
)
def test_an_interrupt_is_wanted_exactly_when_the_event_index_is_crossed(start, batches):
    queue, driver, _ = queue_pair(event_idx=True)
    queue.state.next_used = queue.state.signalled_used = start
    for count, event in batches:
        event = (queue.state.next_used + event % (3 * SIZE) - SIZE) & 0xFFFF
        driver.set_used_event(event)
        pushed = [(queue.state.next_used + i) & 0xFFFF for i in range(count)]
        for _ in range(count):
            queue.push(0, 0)
        assert queue.wants_interrupt() == (event in pushed)


@given(rounds=st.lists(st.integers(1, SIZE), min_size=1, max_size=6), start=st.integers(0xFFF0, 0xFFFF))
def test_indices_wrap(rounds, start):
    queue, driver, ram = queue_pair()
    queue.state.next_avail = queue.state.next_used = driver._avail_index = start
    for index in range(SIZE):
        driver.descriptor(index, BUFFERS_BASE + index, 1)
    total = 0
    for count in rounds:
        for index in range(count):
            driver.offer(index)
        for index in range(count):
            chain = queue.pop()
            assert chain is not None and chain.head == index
            queue.push(index, 0)
        total += count
    assert queue.pop() is None
    assert struct.unpack("<H", ram.read(driver.used + 2, 2))[0] == (start + total) & 0xFFFF


def test_reset_holds_no_view_of_guest_memory():
    queue, _, ram = queue_pair()
    queue.reset()
    ram._view.release()
    ram.data.append(0)  # a bytearray with exported views cannot be resized
