# SPDX-License-Identifier: Apache-2.0
"""Hostile drivers: random registers and random rings. No exception leaves a device, and none hangs.

Structure-aware: most steps are nearly right, because a wholly random ring is refused by the first check.
"""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.devices.virtio.block import VirtioBlock
from innkeeper.devices.virtio.console import VirtioConsole
from innkeeper.devices.virtio.console_port import PortConfig
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.entropy import VirtioEntropy
from innkeeper.devices.virtio.net import LoopbackNet, VirtioNet
from innkeeper.devices.virtio.net_frame import Frame
from tests.unit.devices.virtio.driver import RAM_BASE, RAM_BYTES, Driver, Ram
from tests.unit.devices.virtio.test_block import ListDisk

DEVICES = {
    "block": lambda ram: VirtioBlock(ram, ListDisk()),
    "console": lambda ram: VirtioConsole(ram, [PortConfig("a", True), PortConfig("b")]),
    "net": lambda ram: VirtioNet(ram, LoopbackNet(), mac=bytes(6)),
    "entropy": lambda ram: VirtioEntropy(ram, os.urandom),
}
REGISTERS = [0x14, 0x24, 0x20, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x80, 0x84, 0x90, 0xA0, 0xC0, 0x108]

address = st.one_of(
    st.integers(RAM_BASE, RAM_BASE + 0x20000),
    st.integers(RAM_BASE + RAM_BYTES - 32, RAM_BASE + RAM_BYTES + 32),
    st.sampled_from([0, 2**64 - 1, 2**64 - 16, 2**63]),
)
length = st.one_of(st.sampled_from([0, 1, 8, 12, 16, 512, 2**32 - 1, 2**31]), st.integers(0, 2048))
value = st.one_of(st.integers(0, 20), st.sampled_from([2**32 - 1, 2**31, 0x8000_0000, 0x8000_2000]))
access_size = st.sampled_from([1, 2, 4, 8])
word = st.integers(0, 0xFFFF)
step = st.one_of(
    st.tuples(st.just("desc"), word, address, length, st.integers(0, 7), st.integers(0, 17)),
    st.tuples(st.just("near"), st.integers(0, 7), address, length, st.integers(0, 3), st.integers(0, 7)),
    st.tuples(st.just("offer"), st.integers(0, 7), st.integers(0, 17)),
    st.tuples(st.just("jump"), st.integers(0, 7), word),
    st.tuples(st.just("notify"), st.integers(0, 9)),
    st.tuples(st.just("write"), st.sampled_from(REGISTERS), value),
    st.tuples(st.just("random write"), st.integers(0, 0xFFF), st.integers(0, 2**64), access_size),
    st.tuples(st.just("ram"), st.integers(0, 0x20000), st.binary(max_size=64)),
    st.tuples(st.just("input"), st.binary(max_size=200)),
)  # fmt: skip


def feed(device: VirtioDevice, data: bytes) -> None:
    """What the host may send at any moment."""
    if isinstance(device, VirtioConsole):
        device.port(0).receive(data)
        device.port(1).set_open(len(data) % 2 == 0)
        device.resize(len(data), 1)
    elif isinstance(device, VirtioNet):
        device.receive(Frame(data))
        device.set_link(len(data) % 3 != 0)
        device.announce()


def apply(driver: Driver, action: tuple) -> None:
    kind, *rest = action
    queues = driver.queues
    if kind in ("desc", "near"):
        index, where, size, flags, following = rest
        queues[index % len(queues)].descriptor(index % 16, where, size, flags, following)
    elif kind == "offer":
        queues[rest[0] % len(queues)].offer(rest[1])
    elif kind == "jump":
        queues[rest[0] % len(queues)]._avail_index = rest[1]
        queues[rest[0] % len(queues)].offer(0)
    elif kind == "notify":
        driver.put(0x050, rest[0])
    elif kind == "write":
        driver.put(rest[0], rest[1])
    elif kind == "random write":
        driver.transport.write(rest[0], rest[2], rest[1])
    elif kind == "ram":
        driver.ram.write(RAM_BASE + rest[0], rest[1])
    else:
        feed(driver.device, rest[0])


@pytest.mark.parametrize("name", DEVICES)
@settings(max_examples=150)
@given(steps=st.lists(step, max_size=40), offset=st.integers(0, 0x1000))
def test_no_driver_breaks_a_device(name, steps, offset):
    ram = Ram()
    device = DEVICES[name](ram)
    driver = Driver(ram, device).start()
    for action in steps:
        apply(driver, action)
        for size_bytes in (1, 4, 8):
            assert 0 <= driver.transport.read(offset, size_bytes) < 1 << 8 * size_bytes
    assert driver.needs_reset == bool(device.state.failure)
    assert driver.level == int(device.state.interrupt_status != 0)
    driver.start()
    assert not driver.needs_reset and driver.get(0x070) == 15, "a reset always helps"


@pytest.mark.parametrize("name", DEVICES)
def test_random_rings_of_all_queues(name, rng):
    """Every byte of the rings random, many times over, so that indices and flags of all kinds meet."""
    for _ in range(150):
        ram = Ram()
        driver = Driver(ram, DEVICES[name](ram)).start()
        for queue in driver.queues:
            ram.write(queue.desc, rng.randbytes(0x200))
            for index in range(16):
                where = RAM_BASE + rng.randrange(RAM_BYTES)
                queue.descriptor(
                    index, where, rng.choice([0, 1, 16, 600]), rng.randrange(8), rng.randrange(17)
                )
            for _ in range(rng.randrange(1, 16)):
                queue.offer(rng.randrange(17))
        for index in range(len(driver.queues)):
            driver.put(0x050, index)
        assert driver.needs_reset == bool(driver.device.state.failure)
