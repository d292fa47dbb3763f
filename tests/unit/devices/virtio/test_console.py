# SPDX-License-Identifier: Apache-2.0
"""The console device: control messages, ports in both directions, back-pressure and closing."""

import struct

import pytest

from innkeeper.devices.virtio.console import VirtioConsole
from innkeeper.devices.virtio.console_port import INPUT_LIMIT_BYTES, PortConfig
from tests.unit.devices.virtio.driver import VERSION_1, Driver, Ram, Segment

READY, ADD, PORT_READY, CONSOLE_PORT, RESIZE, OPEN, NAME = 0, 1, 3, 4, 5, 6, 7
CONTROL_IN, CONTROL_OUT = 2, 3


class Bench:
    """A console port 0 and a port `agent`, with what the host and the guest have received."""

    def __init__(self, features: int | None = None) -> None:
        self.ram = Ram()
        ports = [PortConfig("console", is_console=True), PortConfig("agent")]
        self.device = VirtioConsole(self.ram, ports, cols=100, rows=30)
        self.output = [bytearray(), bytearray()]
        self.opened: list[tuple[int, bool]] = []
        for number in range(2):
            port = self.device.port(number)
            port.on_output = self.output[number].extend
            port.on_open = lambda is_open, number=number: self.opened.append((number, is_open))
        self.driver = Driver(self.ram, self.device).start(features)

    def control(self, number: int, event: int, value: int) -> None:
        self.driver.submit(CONTROL_OUT, Segment(struct.pack("<IHH", number, event, value)))
        self.driver.queues[CONTROL_OUT].collect()

    def offer_control(self, count: int = 8) -> None:
        for _ in range(count):
            self.driver.submit(CONTROL_IN, Segment(room=64))

    def messages(self) -> list[tuple[int, int, int, bytes]]:
        """Control messages that arrived; their buffers are offered again."""
        done = []
        for _, length, contents in self.driver.queues[CONTROL_IN].collect():
            done.append((*struct.unpack_from("<IHH", contents), contents[8:length]))
        self.offer_control(len(done))
        return done

    def boot(self) -> list[tuple[int, int, int, bytes]]:
        """What Linux's driver says when it starts; returns all answers."""
        self.offer_control()
        self.control(0, READY, 1)
        answers = self.messages()
        for number in range(2):
            self.control(number, PORT_READY, 1)
            answers += self.messages()
        self.control(0, OPEN, 1)
        return answers + self.messages()

    def received(self, number: int) -> bytes:
        queue = self.driver.queues[self.device.port(number).receive_queue]
        return b"".join(contents[:length] for _, length, contents in queue.collect())

    def offer_input(self, number: int, room: int) -> None:
        self.driver.submit(self.device.port(number).receive_queue, Segment(room=room))


def test_ports_are_added_named_and_sized():
    bench = Bench()
    size = struct.pack("<HH", 100, 30)
    assert bench.boot() == [
        (0, ADD, 1, b""),
        (1, ADD, 1, b""),
        (0, NAME, 1, b"console"),
        (0, CONSOLE_PORT, 1, b""),
        (0, RESIZE, 0, size),
        (0, OPEN, 1, b""),
        (1, NAME, 1, b"agent"),
    ]
    assert bench.opened == [(0, True)]
    assert struct.unpack("<HHI", bench.device.config[:8]) == (100, 30, 2)


def test_output_of_each_port_reaches_its_callback():
    bench = Bench()
    bench.boot()
    bench.driver.submit(1, Segment(b"hello "), Segment(b"world"))
    bench.driver.submit(5, Segment(b"agent says"), indirect=True)
    assert bench.output == [b"hello world", b"agent says"]
    assert len(bench.driver.queues[1].collect()) == 1


def test_input_goes_into_as_many_buffers_as_it_needs_and_waits_for_more():
    bench = Bench()
    bench.boot()
    port = bench.device.port(0)
    bench.offer_input(0, 4)
    bench.offer_input(0, 4)
    assert port.receive(b"0123456789") == 10
    assert bench.received(0) == b"01234567"
    bench.offer_input(0, 64)
    assert bench.received(0) == b"89"


def test_input_waits_until_the_guest_opens_the_port_even_over_a_reset():
    bench = Bench()
    bench.device.port_named("agent").receive(b"early")
    bench.driver.start()
    bench.boot()
    bench.offer_input(1, 64)
    assert bench.received(1) == b""
    bench.control(1, OPEN, 1)
    assert bench.received(1) == b"early"
    assert (1, True) in bench.opened
    bench.control(1, OPEN, 0)
    assert bench.opened[-1] == (1, False)
    assert not bench.device.port(1).is_guest_open


def test_input_is_bounded_and_space_is_announced():
    bench = Bench()
    bench.boot()
    port, announced = bench.device.port(0), []
    port.on_space = lambda: announced.append(1)
    assert port.receive(bytes(INPUT_LIMIT_BYTES + 10)) == INPUT_LIMIT_BYTES
    assert port.receive(b"more") == 0
    bench.offer_input(0, 1000)
    assert announced == [] and len(bench.received(0)) == 1000
    bench.offer_input(0, INPUT_LIMIT_BYTES)
    assert announced == [1]


def test_the_guest_sees_the_hosts_end_close_only_after_all_input():
    bench = Bench()
    bench.boot()
    bench.control(1, OPEN, 1)
    port = bench.device.port(1)
    port.set_open(True)
    assert bench.messages() == [(1, OPEN, 1, b"")]
    port.receive(b"last words")
    port.set_open(False)
    assert bench.messages() == []
    bench.offer_input(1, 4)
    assert bench.messages() == []
    bench.offer_input(1, 64)
    assert bench.received(1) == b"last words"
    assert bench.messages() == [(1, OPEN, 0, b"")]
    port.set_open(False)
    assert bench.messages() == []


def test_a_port_opened_by_the_host_before_the_guest_boots_is_announced():
    bench = Bench()
    bench.device.port(1).set_open(True)
    assert (1, OPEN, 1, b"") in bench.boot()


def test_paused_output_stays_with_the_guest():
    bench = Bench()
    bench.boot()
    port = bench.device.port(0)
    port.pause_output(True)
    bench.driver.submit(1, Segment(b"held"))
    assert bench.output[0] == b"" and bench.driver.queues[1].collect() == []
    port.pause_output(False)
    assert bench.output[0] == b"held"


def test_resize_sends_a_message_and_changes_the_configuration():
    bench = Bench()
    bench.boot()
    bench.driver.interrupt()
    generation = bench.driver.get(0x0FC)
    bench.device.resize(132, 43)
    assert bench.messages() == [(0, RESIZE, 0, struct.pack("<HH", 132, 43))]
    assert bench.driver.transport.read(0x100, 4) == 43 << 16 | 132
    assert bench.driver.get(0x0FC) == generation + 1
    assert bench.driver.interrupt() & 2


def test_without_multiport_there_is_one_open_port():
    bench = Bench(VERSION_1)
    assert bench.opened == [(0, True)]
    bench.offer_input(0, 16)
    bench.device.port(0).receive(b"in")
    bench.driver.submit(1, Segment(b"out"))
    bench.driver.submit(5, Segment(b"ignored"))
    assert (bench.received(0), bench.output) == (b"in", [b"out", b""])


def test_emergency_write_before_any_setup():
    bench = Bench()
    bench.driver.put(0x070, 0)
    bench.driver.transport.write(0x108, 4, ord("!"))
    assert bench.output[0] == b"!"


def test_reset_closes_the_guests_ends_and_drops_what_it_did_not_read():
    bench = Bench()
    bench.boot()
    bench.device.port(0).receive(b"stale")
    bench.driver.put(0x070, 0)
    assert bench.opened[-1] == (0, False)
    bench.driver.start()
    bench.boot()
    bench.offer_input(0, 64)
    assert bench.received(0) == b""


@pytest.mark.parametrize(
    "message", [b"", b"\0" * 7, struct.pack("<IHH", 9, OPEN, 1), struct.pack("<IHH", 0, 77, 1), b"\xff" * 64]
)
def test_senseless_control_messages_are_dropped(message):
    bench = Bench()
    bench.boot()
    bench.driver.submit(CONTROL_OUT, Segment(message) if message else Segment(room=8))
    assert bench.messages() == []
    assert not bench.driver.needs_reset


def test_a_guest_that_does_not_read_its_answers_does_not_make_us_collect_them():
    bench = Bench()
    for _ in range(3000):
        bench.control(0, READY, 1)
    assert len(bench.device.state.control) == 1024


def test_a_receive_buffer_without_room_or_a_huge_output_buffer_needs_a_reset():
    bench = Bench()
    bench.boot()
    bench.driver.submit(0, Segment(b"readable"))
    bench.device.port(0).receive(b"x")
    assert bench.driver.needs_reset
    bench = Bench()
    bench.boot()
    queue = bench.driver.queues[1]
    queue.descriptor(0, 0x8000_0000, 1 << 20, 1, 1)
    queue.descriptor(1, 0x8000_0000, 1, 0)
    queue.offer(0)
    bench.driver.put(0x050, 1)
    assert bench.driver.needs_reset
