# SPDX-License-Identifier: Apache-2.0
"""The network device with its null and loopback backends."""

import struct

import pytest

from innkeeper.devices.virtio.net import LoopbackNet, NullNet, VirtioNet
from tests.unit.devices.virtio.driver import Driver, Ram, Segment

MAC = bytes.fromhex("525400123456")
HEADER = bytes(12)
FRAME = MAC + MAC + b"\x08\x00" + bytes(range(100))


class Wire:
    """A backend that records frames and lets the test answer."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def attach(self, receive) -> None:
        self.receive = receive

    def send(self, frame) -> None:
        self.sent.append(bytes(frame))


def bench(backend=None) -> tuple[Driver, VirtioNet]:
    ram = Ram()
    device = VirtioNet(ram, backend or Wire(), mac=MAC, mtu_bytes=1400)
    return Driver(ram, device).start(), device


def test_configuration_space_and_link():
    driver, device = bench()
    assert bytes(driver.transport.read(0x100 + i, 1) for i in range(6)) == MAC
    assert (driver.transport.read(0x106, 2), driver.transport.read(0x10A, 2)) == (1, 1400)
    device.set_link(False)
    assert driver.transport.read(0x106, 2) == 0
    assert driver.interrupt() == 2 and driver.get(0x0FC) == 1
    device.set_link(False)
    assert driver.get(0x0FC) == 1


@pytest.mark.parametrize(
    "segments",
    [
        [HEADER + FRAME],
        [HEADER, FRAME],
        [HEADER[:5], HEADER[5:] + FRAME[:1], FRAME[1:]],
    ],
)
def test_a_frame_is_sent_whole_however_it_is_framed(segments):
    wire = Wire()
    driver, _ = bench(wire)
    driver.submit(1, *map(Segment, segments))
    assert wire.sent == [FRAME]
    assert len(driver.queues[1].collect()) == 1


def test_a_received_frame_gets_a_header_with_one_buffer():
    wire = Wire()
    driver, _ = bench(wire)
    driver.submit(0, Segment(room=12), Segment(room=1500))
    assert wire.receive(FRAME)
    ((_, length, contents),) = driver.queues[0].collect()
    assert contents[:length] == struct.pack("<BBHHHHH", 0, 0, 0, 0, 0, 0, 1) + FRAME
    assert driver.interrupt() == 1


def test_frames_without_a_buffer_or_too_large_for_it_or_without_a_link_are_dropped():
    wire = Wire()
    driver, device = bench(wire)
    assert not wire.receive(FRAME)
    driver.submit(0, Segment(room=50))
    assert not wire.receive(FRAME)
    assert driver.queues[0].collect()[0][1] == 0
    driver.submit(0, Segment(room=1500))
    device.set_link(False)
    assert not wire.receive(FRAME)
    driver.submit(1, Segment(HEADER + FRAME))
    assert wire.sent == []
    assert (device.state.received_dropped_frames, device.state.sent_dropped_frames) == (3, 1)
    assert not driver.needs_reset


def test_loopback_returns_and_null_swallows():
    driver, _ = bench(LoopbackNet())
    driver.submit(0, Segment(room=1500))
    driver.submit(1, Segment(HEADER + FRAME))
    ((_, length, contents),) = driver.queues[0].collect()
    assert contents[12:length] == FRAME
    driver, _ = bench(NullNet())
    driver.submit(0, Segment(room=1500))
    driver.submit(1, Segment(HEADER + FRAME))
    assert driver.queues[0].collect() == []


def test_runts_and_giants_are_dropped_and_a_cut_header_needs_a_reset():
    wire = Wire()
    driver, device = bench(wire)
    driver.submit(1, Segment(HEADER + b"short"))
    driver.submit(1, Segment(HEADER), Segment(bytes(70000)))
    assert (wire.sent, device.state.sent_dropped_frames) == ([], 2)
    assert not driver.needs_reset
    driver.submit(1, Segment(HEADER[:11]))
    assert driver.needs_reset


@pytest.mark.parametrize("mac,mtu", [(b"\x01" + MAC[1:], 1500), (MAC[:5], 1500), (MAC, 67), (MAC, 65536)])
def test_wrong_addresses_and_mtus_are_refused(mac, mtu):
    with pytest.raises(ValueError):
        VirtioNet(Ram(), NullNet(), mac=mac, mtu_bytes=mtu)
