# SPDX-License-Identifier: Apache-2.0
"""The network device: framing, offloads, mergeable buffers, back-pressure, the control queue."""

import struct
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.devices.virtio.net import NullNet, VirtioNet
from innkeeper.devices.virtio.net_frame import FRAME_BYTES_MAX, Frame, Offloads
from tests.unit.devices.virtio.driver import EVENT_IDX, INDIRECT_DESC, Driver, Ram, Segment
from tests.unit.devices.virtio.wire import FRAME, HEADER, MAC, Wire

CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6 = 1 << 0, 1 << 1, 1 << 7, 1 << 8
HOST_TSO4, HOST_TSO6, MRG_RXBUF, CTRL_VQ, ANNOUNCE = 1 << 11, 1 << 12, 1 << 15, 1 << 17, 1 << 21


def header(
    flags: int = 0, gso: int = 0, header_bytes: int = 0, size: int = 0, start: int = 0, offset: int = 0
) -> bytes:
    return struct.pack("<BBHHHHH", flags, gso, header_bytes, size, start, offset, 0)


def bench(
    backend=None, features: int | None = None, *, size: int = 16, defer=None
) -> tuple[Driver, VirtioNet]:
    ram = Ram()
    device = VirtioNet(ram, backend or Wire(), mac=MAC, mtu_bytes=1400)
    return Driver(ram, device, defer=defer).start(features, size), device


def test_configuration_space_and_link():
    driver, device = bench()
    assert bytes(driver.transport.read(0x100 + i, 1) for i in range(6)) == MAC
    assert (driver.transport.read(0x106, 2), driver.transport.read(0x10A, 2)) == (1, 1400)
    device.set_link(False)
    assert driver.transport.read(0x106, 2) == 0
    assert driver.interrupt() == 2 and driver.get(0x0FC) == 1
    device.set_link(False)
    assert driver.get(0x0FC) == 1
    driver.start()
    assert driver.transport.read(0x106, 2) == 0, "a reset of the driver plugs no cable in"


@pytest.mark.parametrize(
    "segments",
    [
        [HEADER + FRAME],
        [HEADER, FRAME],
        [HEADER + FRAME[:60], FRAME[60:]],
        [HEADER[:5], HEADER[5:] + FRAME[:1], FRAME[1:]],
    ],
)
def test_a_frame_is_sent_whole_however_it_is_framed(segments):
    wire = Wire()
    driver, device = bench(wire)
    driver.submit(1, *map(Segment, segments))
    assert wire.sent == [Frame(FRAME)]
    assert len(driver.queues[1].collect()) == 1
    assert (device.state.sent_frames, device.state.sent_bytes) == (1, len(FRAME))


@pytest.mark.parametrize("gso,feature", [(0, 0), (1, HOST_TSO4), (4, HOST_TSO6)])
def test_offloads_of_the_guest_reach_the_backend(gso, feature):
    wire = Wire()
    driver, _ = bench(wire, CSUM | feature | EVENT_IDX | INDIRECT_DESC)
    payload = FRAME + bytes(60000)
    driver.submit(
        1, Segment(header(1, gso, 66, 1448 if gso else 0, 34, 16) + payload[:80]), Segment(payload[80:]),
        indirect=True,
    )  # fmt: skip
    expected = Frame(payload, gso, 1448 if gso else 0, 66 if gso else 0, 34, 16)
    assert wire.sent == [expected]


@pytest.mark.parametrize(
    "features,packet_header",
    [
        (0, header(1, start=34, offset=16)),
        (CSUM, header(1, 1, 66, 1448, 34, 16)),
        (CSUM | HOST_TSO4, header(1, 4, 66, 1448, 34, 16)),
        (CSUM | HOST_TSO4, header(1, 1, 66, 0, 34, 16)),
        (CSUM | HOST_TSO4, header(0, 1, 66, 1448, 34, 16)),
        (CSUM | HOST_TSO4, header(1, 3, 66, 1448, 34, 16)),
        (CSUM | HOST_TSO4, header(1, 1, 66, 1448, 0xFFFF, 0xFFFF)),
        (CSUM, header(1, start=len(FRAME) - 1, offset=0)),
    ],
)
def test_offloads_not_agreed_to_and_checksums_outside_of_the_frame_are_dropped(features, packet_header):
    wire = Wire()
    driver, device = bench(wire, features)
    driver.submit(1, Segment(packet_header + FRAME))
    assert wire.sent == [] and device.state.sent_dropped_frames == 1
    assert len(driver.queues[1].collect()) == 1 and not driver.needs_reset


@pytest.mark.parametrize("features", [0, MRG_RXBUF])
def test_a_received_frame_gets_a_header_with_one_buffer(features):
    wire = Wire()
    driver, device = bench(wire, features)
    driver.submit(0, Segment(room=12), Segment(room=1500))
    assert wire.port.receive(Frame(FRAME))
    ((_, length, contents),) = driver.queues[0].collect()
    assert contents[:length] == struct.pack("<BBHHHHH", 0, 0, 0, 0, 0, 0, 1) + FRAME
    assert driver.interrupt() == 1
    assert (device.state.received_frames, device.state.received_bytes) == (1, len(FRAME))


@pytest.mark.parametrize(
    "frame,expected",
    [
        (Frame(FRAME, checksum_valid=True), (2, 0, 0, 0, 0, 0)),
        (Frame(FRAME, checksum_start=34, checksum_offset=16), (1, 0, 0, 0, 34, 16)),
        (Frame(FRAME, 1, 1448, 66, 34, 16), (1, 1, 66, 1448, 34, 16)),
    ],
)
def test_offloads_towards_the_guest_are_in_the_header(frame, expected):
    wire = Wire()
    driver, _ = bench(wire)
    driver.submit(0, Segment(room=1500))
    assert wire.port.receive(frame)
    ((_, length, contents),) = driver.queues[0].collect()
    assert struct.unpack("<BBHHHHH", contents[:12]) == (*expected, 1)
    assert contents[12:length] == FRAME


def test_the_backend_learns_what_the_driver_takes():
    wire = Wire()
    bench(wire, GUEST_CSUM | GUEST_TSO6)
    assert wire.port.offloads == Offloads(checksum=True, tso6=True)
    bench(wire, 0)
    assert wire.port.offloads == Offloads()
    bench(wire)
    assert wire.port.offloads == Offloads(checksum=True, tso4=True, tso6=True)
    assert wire.port.mtu_bytes == 1400


@given(
    sizes=st.lists(st.integers(1, 3000), min_size=8, max_size=16),
    frame_bytes=st.integers(14, 6000),
)
def test_a_super_frame_goes_over_as_many_mergeable_buffers_as_it_needs(sizes, frame_bytes):
    wire = Wire()
    driver, device = bench(wire, MRG_RXBUF)
    frame = bytes(i * 7 & 255 for i in range(frame_bytes))
    for size in sizes:
        driver.submit(0, Segment(room=size))
    taken = wire.port.receive(Frame(frame, 1, 1448, 66))
    done = driver.queues[0].collect()
    if sum(sizes) < frame_bytes + 12:
        assert done == [] and taken == (len(sizes) == 16), "it waits, but not for what can never be"
        return
    packet = b"".join(contents[:length] for _, length, contents in done)
    assert taken and packet[12:] == frame
    assert struct.unpack("<BBHHHHH", packet[:12])[6] == len(done)
    assert all(length == len(contents) for _, length, contents in done[:-1])
    assert device.queues[0].state.next_avail == len(done)


@pytest.mark.parametrize("features", [MRG_RXBUF, MRG_RXBUF | EVENT_IDX, 0, EVENT_IDX])
def test_a_frame_without_room_waits_until_the_driver_tells_of_more(features):
    wire = Wire()
    driver, _ = bench(wire, features)
    mergeable = features & MRG_RXBUF
    if mergeable:
        driver.submit(0, Segment(room=60))
    assert not wire.port.receive(Frame(FRAME)) and not wire.port.receive(Frame(FRAME))
    if features & EVENT_IDX:
        assert driver.queues[0].avail_event() == (1 if mergeable else 0), "to be told of the next one"
    else:
        assert driver.queues[0].no_notify() == 0
    driver.submit(0, Segment(room=1500))
    assert wire.ready == 1 and wire.port.receive(Frame(FRAME))
    assert len(driver.queues[0].collect()) == (2 if mergeable else 1)
    driver.submit(0, Segment(room=1500))
    assert wire.ready == 1, "nothing waits any longer"


def test_a_backend_that_waits_is_told_after_a_reset_too():
    wire = Wire()
    driver, _ = bench(wire)
    assert not wire.port.receive(Frame(FRAME))
    driver.start()
    driver.submit(0, Segment(room=1500))
    assert wire.ready == 1


def test_frames_too_large_for_the_buffer_or_without_a_link_are_dropped():
    wire = Wire()
    driver, device = bench(wire, 0)
    driver.submit(0, Segment(room=50))
    assert wire.port.receive(Frame(FRAME))
    assert driver.queues[0].collect()[0][1] == 0
    driver.submit(0, Segment(room=1500))
    assert wire.port.receive(Frame(bytes(FRAME_BYTES_MAX + 1)))
    device.set_link(False)
    assert wire.port.receive(Frame(FRAME))
    driver.submit(1, Segment(HEADER + FRAME))
    assert wire.sent == [] and driver.queues[0].collect() == []
    assert (device.state.received_dropped_frames, device.state.sent_dropped_frames) == (3, 1)
    assert not driver.needs_reset


def test_runts_and_giants_are_dropped_and_a_cut_header_needs_a_reset():
    wire = Wire()
    driver, device = bench(wire)
    driver.submit(1, Segment(HEADER + b"short"))
    driver.submit(1, Segment(HEADER), Segment(bytes(70000)))
    assert (wire.sent, device.state.sent_dropped_frames) == ([], 2)
    assert not driver.needs_reset
    driver.submit(1, Segment(HEADER[:11]))
    assert driver.needs_reset
    assert wire.port.receive(Frame(FRAME)) and wire.port.receive(Frame(FRAME))


def test_a_hart_only_asks_and_the_io_thread_sends_in_batches_with_one_interrupt():
    wire, later = Wire(), deque()
    driver, _ = bench(wire, EVENT_IDX, size=256, defer=later.append)
    driver.queues[1].set_used_event(0)
    for _ in range(100):
        driver.submit(1, Segment(HEADER + FRAME))
    assert wire.sent == [] and len(later) == 1
    while later:
        later.popleft()()
    assert wire.batches == [64, 36]
    assert driver.interrupt() == 1 and len(driver.queues[1].collect()) == 100
    assert driver.queues[1].avail_event() == 100, "idle again: to be told of the next one"


def test_frames_of_one_turn_make_one_interrupt():
    wire, later = Wire(), deque()
    driver, _ = bench(wire, 0, defer=later.append)
    for _ in range(4):
        driver.submit(0, Segment(room=1500))
    for _ in range(3):
        assert wire.port.receive(Frame(FRAME))
    assert driver.interrupt() == 0
    while later:
        later.popleft()()
    assert driver.interrupt() == 1 and len(driver.queues[0].collect()) == 3


def command(driver: Driver, data: bytes, room: int = 1) -> int | None:
    """The answer to a control command; None when there was none."""
    driver.submit(2, Segment(data), *([Segment(room=room)] if room else []))
    done = driver.queues[2].collect()
    return done[0][2][0] if done else None


def test_commands_of_the_control_queue():
    wire = Wire()
    driver, device = bench(wire)
    assert command(driver, bytes((0, 0, 1))) == 0, "promiscuous on"
    assert command(driver, bytes((0, 9, 1))) == 1 and command(driver, bytes((0, 0))) == 1
    assert command(driver, bytes((1, 0)) + struct.pack("<I", 0) + struct.pack("<I6s", 1, MAC)) == 0
    other = bytes.fromhex("525400abcdef")
    assert command(driver, bytes((1, 1)) + other) == 0
    assert bytes(driver.transport.read(0x100 + i, 1) for i in range(6)) == other
    assert command(driver, bytes((1, 1)) + b"\x01" + other[1:]) == 1, "a group address"
    assert command(driver, bytes((1, 1)) + other[:5]) == 1
    assert command(driver, bytes((7, 7))) == 1, "no such class"
    assert command(driver, bytes((5, 0)) + struct.pack("<Q", GUEST_CSUM | GUEST_TSO4)) == 0
    assert wire.port.offloads == Offloads(checksum=True, tso4=True)
    assert command(driver, bytes((5, 0)) + struct.pack("<Q", 1 << 10)) == 1
    assert wire.port.offloads == Offloads(checksum=True, tso4=True)
    device.announce()
    assert driver.transport.read(0x106, 2) == 3 and driver.interrupt() & 2
    assert command(driver, bytes((3, 0))) == 0 and driver.transport.read(0x106, 2) == 1
    driver.start()
    assert bytes(driver.transport.read(0x100 + i, 1) for i in range(6)) == MAC


@pytest.mark.parametrize("data,room", [(b"\x00", 1), (b"\x00\x00\x01", 0), (bytes(65537), 1)])
def test_what_is_no_command_needs_a_reset(data, room):
    driver, _ = bench()
    command(driver, data, room)
    assert driver.needs_reset


def test_offloads_that_were_not_agreed_to_cannot_be_switched_on():
    driver, _ = bench(None, CTRL_VQ | GUEST_CSUM)
    assert command(driver, bytes((5, 0)) + struct.pack("<Q", GUEST_TSO4)) == 1


@pytest.mark.parametrize("mac,mtu", [(b"\x01" + MAC[1:], 1500), (MAC[:5], 1500), (MAC, 67), (MAC, 65536)])
def test_wrong_addresses_and_mtus_are_refused(mac, mtu):
    with pytest.raises(ValueError):
        VirtioNet(Ram(), NullNet(), mac=mac, mtu_bytes=mtu)
