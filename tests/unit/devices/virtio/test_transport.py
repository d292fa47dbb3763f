# SPDX-License-Identifier: Apache-2.0
"""MMIO registers, negotiation, the status state machine and the answer to broken drivers."""

import pytest

from innkeeper.devices.virtio.device import CHAINS_PER_TURN
from innkeeper.devices.virtio.entropy import VirtioEntropy
from tests.unit.devices.virtio.driver import EVENT_IDX, INDIRECT_DESC, VERSION_1, Driver, Ram, Segment


def entropy_driver(**options) -> Driver:
    ram = Ram()
    return Driver(ram, VirtioEntropy(ram, lambda count: b"\xa5" * count), **options)


def test_identification():
    driver = entropy_driver()
    assert driver.get(0x000) == 0x74726976
    assert driver.get(0x004) == 2
    assert driver.get(0x008) == 4
    assert driver.get(0x034) == 16
    driver.put(0x030, 1)
    assert driver.get(0x034) == 0, "a queue that does not exist has size 0"


def test_negotiation_reaches_driver_ok_and_serves_a_buffer():
    driver = entropy_driver().start()
    assert driver.get(0x070) == 15
    head = driver.submit(0, Segment(room=8), Segment(room=4))
    assert driver.level == 1
    assert driver.interrupt() == 1
    assert driver.level == 0
    assert driver.queues[0].collect() == [(head, 12, b"\xa5" * 12)]


@pytest.mark.parametrize("features", [0, EVENT_IDX, VERSION_1 | 1 << 40, VERSION_1 | 1])
def test_features_not_offered_or_without_version_1_are_refused(features):
    driver = entropy_driver()
    assert driver.negotiate(features) == 3
    driver.put(0x070, 15)
    assert driver.get(0x070) == 3, "DRIVER_OK needs FEATURES_OK"


def test_features_are_fixed_after_features_ok():
    driver = entropy_driver()
    driver.negotiate(VERSION_1)
    driver.put(0x024, 0)
    driver.put(0x020, EVENT_IDX)
    assert driver.device.state.driver_features == VERSION_1


def test_buffers_offered_before_driver_ok_wait_for_it():
    driver = entropy_driver().start()
    queue = driver.queues[0]
    driver.negotiate(VERSION_1)
    ram = driver.ram
    ram.write(queue.desc, bytes(0x4000))
    driver.set_queue(0, 16, queue.desc, queue.avail, queue.used)
    queue._avail_index = 0
    queue.add(driver, [Segment(room=4)])
    driver.put(0x050, 0)
    assert queue.collect() == []
    driver.put(0x070, 15)
    assert len(queue.collect()) == 1


def test_ready_queues_ignore_address_writes_and_can_be_disabled():
    driver = entropy_driver().start()
    driver.put(0x030, 0)
    assert driver.get(0x044) == 1
    driver.put(0x080, 0xDEAD0000)
    driver.put(0x038, 3)
    driver.submit(0, Segment(room=4))
    assert len(driver.queues[0].collect()) == 1
    driver.put(0x044, 0)
    assert driver.get(0x044) == 0
    driver.submit(0, Segment(room=4))
    assert driver.queues[0].collect() == []
    assert not driver.needs_reset


def test_a_bad_queue_sets_needs_reset_and_only_a_reset_helps():
    reasons = []
    driver = entropy_driver()
    driver.device.on_failure = reasons.append
    driver.start()
    driver.queues[0].offer(999)
    driver.put(0x050, 0)
    assert driver.needs_reset
    assert driver.interrupt() == 2
    assert len(reasons) == 1 and "999" in reasons[0]
    driver.put(0x050, 0)
    assert len(reasons) == 1, "a failed device is silent"
    driver.start()
    driver.submit(0, Segment(room=4))
    assert not driver.needs_reset
    assert len(driver.queues[0].collect()) == 1


def test_a_queue_outside_ram_fails_without_an_interrupt_before_driver_ok():
    driver = entropy_driver()
    driver.negotiate(VERSION_1)
    driver.set_queue(0, 16, 0, 0x1000, 0x2000)
    assert driver.needs_reset
    assert driver.level == 0


def test_a_queue_enabled_before_the_features_are_agreed_is_refused():
    driver = entropy_driver()
    driver.put(0x070, 3)
    driver.set_queue(0, 16, 0x80000000, 0x80001000, 0x80002000)
    assert driver.needs_reset


def test_status_bits_cannot_be_cleared_one_by_one_and_zero_resets():
    driver = entropy_driver().start()
    driver.put(0x070, 1)
    assert driver.get(0x070) == 15
    driver.put(0x070, 64)
    assert driver.get(0x070) == 15, "NEEDS_RESET is the device's"
    driver.put(0x070, 0)
    assert (driver.get(0x070), driver.get(0x044), driver.get(0x060)) == (0, 0, 0)


def test_wrong_sizes_unknown_registers_and_missing_memory_regions():
    driver = entropy_driver().start()
    assert driver.transport.read(0x000, 1) == 0
    assert driver.transport.read(0x002, 4) == 0
    driver.transport.write(0x070, 1, 0)
    assert driver.get(0x070) == 15
    assert driver.get(0x0B0) == driver.get(0x0B4) == 0xFFFF_FFFF
    assert driver.get(0x0F0) == 0
    assert driver.transport.read(0x100, 8) == 0
    driver.put(0x014, 7)
    assert driver.get(0x010) == 0


def test_suppressed_interrupts_stay_away():
    driver = entropy_driver().start(INDIRECT_DESC)
    driver.queues[0].set_no_interrupt(True)
    driver.submit(0, Segment(room=4))
    assert driver.level == 0
    driver = entropy_driver().start(EVENT_IDX)
    driver.queues[0].set_used_event(1)
    driver.submit(0, Segment(room=4))
    assert driver.level == 0
    driver.submit(0, Segment(room=4))
    assert driver.level == 1


def test_an_endless_stream_of_buffers_is_served_in_turns():
    """A hart that adds a buffer whenever one is returned cannot keep the device from giving up the lock."""
    later = []
    driver = entropy_driver(defer=later.append)
    driver.start()
    queue, served = driver.queues[0], 0

    def refill(count: int) -> bytes:
        nonlocal served
        served += 1
        if served < 1000:
            queue.collect()
            queue.add(driver, [Segment(room=1)])
        return b"x" * count

    driver.device._read_bytes = refill
    driver.submit(0, Segment(room=1))
    assert served == CHAINS_PER_TURN
    while later:
        later.pop()()
    assert served == 1000


def test_deferred_work_after_a_reset_does_nothing():
    later = []
    driver = entropy_driver(defer=later.append)
    driver.start(size=16)
    driver.transport.reset()
    driver.device.notify(0)
    assert driver.get(0x070) == 0
