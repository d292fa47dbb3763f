# SPDX-License-Identifier: Apache-2.0
"""Virtio devices whose state is saved in the middle of their work: their driver does not notice."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.devices.saved import from_plain, to_plain
from innkeeper.devices.virtio.console import VirtioConsole
from innkeeper.devices.virtio.console_port import INPUT_LIMIT_BYTES, PortConfig
from innkeeper.devices.virtio.device import VirtioDevice, VirtioState
from innkeeper.devices.virtio.entropy import VirtioEntropy
from innkeeper.devices.virtio.net import VirtioNet
from innkeeper.devices.virtio.net_backend import LoopbackNet, NullNet
from innkeeper.devices.virtio.saved import restore_transport
from innkeeper.devices.virtio.transport import MmioTransport, TransportState
from innkeeper.errors import ConfigError
from tests.unit.devices.virtio.driver import EVENT_IDX, Driver, Ram, Segment

PORTS = (PortConfig("console", is_console=True), PortConfig("agent"))
MAC = bytes.fromhex("020000000001")


def move(driver: Driver, device: VirtioDevice) -> None:
    """Let `device`, just made, go on where the driver's device is, through JSON."""
    old = driver.transport
    registers, state = (json.loads(json.dumps(to_plain(s))) for s in (old.state, driver.device.state))
    transport = MmioTransport(device, driver._drive)
    restore_transport(
        transport,
        from_plain(TransportState, registers, "transport"),
        from_plain(type(device.state), state, "device"),
        "device",
    )
    device.restored()
    driver.transport, driver.device = transport, device


def entropy(ram: Ram, first: int) -> VirtioEntropy:
    numbers = iter(range(first, 1 << 20))
    return VirtioEntropy(ram, lambda count: next(numbers).to_bytes(2, "big") * (count // 2))


@pytest.mark.parametrize("features", [None, 0, EVENT_IDX])
def test_a_queue_goes_on_behind_what_was_used(features: int | None) -> None:
    ram = Ram()
    driver = Driver(ram, entropy(ram, 0)).start(features)
    for _ in range(20):  # past the ring's end
        driver.submit(0, Segment(room=2))
        done = driver.queues[0].collect()
    assert done[-1][2] == (19).to_bytes(2, "big")
    assert driver.interrupt() == 1
    move(driver, entropy(ram, 500))
    driver.queues[0].set_used_event(driver.queues[0]._used_index)
    driver.submit(0, Segment(room=2))
    assert [contents for _, _, contents in driver.queues[0].collect()] == [(500).to_bytes(2, "big")]
    assert driver.interrupt() == 1


def test_an_unacknowledged_interrupt_is_still_there() -> None:
    ram = Ram()
    driver = Driver(ram, entropy(ram, 0)).start()
    driver.submit(0, Segment(room=2))
    move(driver, entropy(ram, 0))
    assert driver.level == 1
    assert driver.interrupt() == 1
    assert driver.level == 0


def test_a_device_that_failed_stays_failed_and_can_be_reset() -> None:
    ram = Ram()
    driver = Driver(ram, entropy(ram, 0)).start()
    driver.queues[0].offer(99)
    driver.put(0x050, 0)
    assert driver.needs_reset
    move(driver, entropy(ram, 7))
    assert driver.needs_reset and driver.device.state.failure
    driver.start().submit(0, Segment(room=2))
    assert driver.queues[0].collect()[0][2] == (7).to_bytes(2, "big")


class Console:
    """A console that the test replaces by another one in the middle."""

    def __init__(self) -> None:
        self.ram = Ram()
        self.output, self.opened = bytearray(), list[tuple[int, bool]]()
        self.device = self.make()
        self.driver = Driver(self.ram, self.device).start()
        for _ in range(12):
            self.driver.submit(2, Segment(room=64))
        for number, event, value in ((0, 0, 1), (0, 3, 1), (1, 3, 1), (1, 6, 1)):
            self.driver.submit(
                3,
                Segment(b"".join(n.to_bytes(w, "little") for n, w in ((number, 4), (event, 2), (value, 2)))),
            )

    def make(self) -> VirtioConsole:
        device = VirtioConsole(self.ram, PORTS)
        for number in range(2):
            device.port(number).on_open = lambda is_open, number=number: self.opened.append((number, is_open))
        device.port(1).on_output = self.output.extend
        return device

    def move(self) -> None:
        self.device = self.make()
        self.opened.clear()
        move(self.driver, self.device)


def test_a_console_keeps_its_input_and_tells_the_host_which_ports_are_open() -> None:
    console = Console()
    assert console.opened == [(1, True)]
    console.device.port(1).receive(b"left over")
    console.move()
    assert console.opened == [(1, True)]
    queue = console.device.port(1).receive_queue
    console.driver.submit(queue, Segment(room=64))
    assert console.driver.queues[queue].collect()[0][2].rstrip(b"\0") == b"left over"
    console.driver.submit(queue + 1, Segment(b"answer"))
    assert console.output == b"answer"


def test_a_console_tells_the_guest_that_the_hosts_end_has_opened_meanwhile() -> None:
    console = Console()
    control = console.driver.queues[2]
    control.collect()
    console.device = console.make()
    console.device.port(1).is_host_open = True
    move(console.driver, console.device)
    messages = [contents[:8] for _, _, contents in control.collect()]
    assert messages == [bytes.fromhex("0100000006000100")]


def test_a_network_card_goes_on_with_the_offloads_that_were_agreed() -> None:
    ram = Ram()
    driver = Driver(ram, VirtioNet(ram, LoopbackNet(), mac=MAC)).start()
    frame = bytes(range(64))
    move(driver, VirtioNet(ram, LoopbackNet(), mac=bytes.fromhex("020000000002")))
    driver.submit(0, Segment(room=70000))
    driver.submit(1, Segment(bytes(12) + frame))
    (_, length, contents), *_ = driver.queues[0].collect()
    assert contents[12:length] == frame


@dataclass
class Damage:
    """One change to the saved state of a device that has one queue of 16 entries."""

    name: str
    change: Callable[[VirtioState], None]


def set_queue(**values: object) -> Callable[[VirtioState], None]:
    def change(state: VirtioState) -> None:
        state.queues[0] = replace(state.queues[0], **values)  # type: ignore[arg-type]

    return change


@pytest.mark.parametrize(
    "damage",
    [
        Damage("status", lambda state: setattr(state, "status", 0x100)),
        Damage("negative status", lambda state: setattr(state, "status", -1)),
        Damage("features", lambda state: setattr(state, "driver_features", 1 << 60)),
        Damage("interrupt", lambda state: setattr(state, "interrupt_status", 8)),
        Damage("generation", lambda state: setattr(state, "config_generation", 1 << 32)),
        Damage("queues", lambda state: state.queues.append(state.queues[0])),
        Damage("no queues", lambda state: state.queues.clear()),
        Damage("size_max", set_queue(size_max=1 << 15)),
        Damage("size", set_queue(size=3)),
        Damage("large size", set_queue(size=32)),
        Damage("outside", set_queue(desc_address=1 << 40)),
        Damage("negative", set_queue(desc_address=-16)),
        Damage("unaligned", set_queue(driver_address=0x8000_0001)),
        Damage("index", set_queue(next_avail=1 << 16)),
        Damage("used", set_queue(next_used=-1)),
    ],
    ids=lambda damage: damage.name,
)
def test_state_that_no_device_can_have_is_refused(damage: Damage) -> None:
    ram = Ram()
    driver = Driver(ram, entropy(ram, 0)).start()
    damage.change(driver.device.state)
    with pytest.raises(ConfigError) as caught:
        move(driver, entropy(ram, 0))
    assert caught.value.remedy


def test_a_console_of_other_ports_or_with_too_much_input_is_refused() -> None:
    console = Console()
    console.device.state.ports[1].input = bytearray(INPUT_LIMIT_BYTES + 1)
    with pytest.raises(ConfigError, match="more input"):
        console.move()
    console = Console()
    console.device.state.ports.pop()
    with pytest.raises(ConfigError, match="1 ports"):
        console.move()


@settings(max_examples=50)
@given(st.integers(0, 1 << 32))
def test_moves_at_random_moments_lose_and_double_nothing(seed: int) -> None:
    """Frames of a looped cable and random bytes, with moves in between; the seed is in hypothesis' report."""
    choose = random.Random(seed)
    ram = Ram()
    driver = Driver(ram, VirtioNet(ram, LoopbackNet(), mac=MAC)).start(EVENT_IDX)
    sent, got = [], []
    for number in range(40):
        action = choose.random()
        if action < 0.3:
            move(driver, VirtioNet(ram, LoopbackNet(), mac=MAC))
        elif action < 0.6:
            driver.submit(0, Segment(room=1600))
            frame = bytes([number]) * choose.randrange(60, 200)
            sent.append(frame)
            driver.submit(1, Segment(bytes(12) + frame))
        else:
            got += [contents[12:length] for _, length, contents in driver.queues[0].collect()]
            driver.queues[1].collect()
    got += [contents[12:length] for _, length, contents in driver.queues[0].collect()]
    assert got == sent


def test_a_device_without_its_features_is_not_taken_for_one_with_them() -> None:
    ram = Ram()
    driver = Driver(ram, VirtioNet(ram, NullNet(), mac=MAC)).start()
    other = VirtioNet(ram, NullNet(), mac=MAC)
    other.features &= ~(1 << 28)
    with pytest.raises(ConfigError, match="features"):
        move(driver, other)
