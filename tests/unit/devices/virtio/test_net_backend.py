# SPDX-License-Identifier: Apache-2.0
"""The two simplest ends of a network cable."""

from innkeeper.devices.virtio.net import LoopbackNet, NullNet, VirtioNet
from innkeeper.devices.virtio.net_frame import NetBackend
from tests.unit.devices.virtio.driver import Driver, Ram, Segment
from tests.unit.devices.virtio.wire import FRAME, HEADER, MAC


def _driver(backend: NetBackend) -> Driver:
    ram = Ram()
    return Driver(ram, VirtioNet(ram, backend, mac=MAC)).start()


def test_loopback_returns_and_null_swallows():
    driver = _driver(LoopbackNet())
    driver.submit(0, Segment(room=1500))
    driver.submit(1, Segment(HEADER + FRAME))
    ((_, length, contents),) = driver.queues[0].collect()
    assert contents[12:length] == FRAME
    driver = _driver(NullNet())
    driver.submit(0, Segment(room=1500))
    driver.submit(1, Segment(HEADER + FRAME))
    assert driver.queues[0].collect() == []
