# SPDX-License-Identifier: Apache-2.0
"""Frames that a hart sends itself while the I/O thread sleeps, and when their buffers return."""

from collections import deque

import pytest

from innkeeper.devices.virtio.net import (
    HELD_MAX,
    HOLD_NS,
    INLINE_AFTER,
    INLINE_BYTES_MAX,
    INLINE_UNANSWERED_MAX,
    VirtioNet,
)
from innkeeper.devices.virtio.net_frame import Frame
from innkeeper.errors import ConfigError
from innkeeper.machine.clock import VirtualClock
from tests.unit.devices.virtio.driver import Driver, Ram, Segment
from tests.unit.devices.virtio.wire import FRAME, HEADER, MAC, Wire


class FakeIo:
    """The machine's I/O thread, with time that the test moves."""

    def __init__(self) -> None:
        self.sleeps = True
        self.clock = VirtualClock()
        self.timers: list = []

    def call_at(self, deadline_ns, work) -> None:
        self.timers.append((deadline_ns, work))

    def advance(self, elapsed_ns: int) -> None:
        self.clock.advance_ns(elapsed_ns)
        due = [timer for timer in self.timers if timer[0] <= self.clock.now_ns()]
        self.timers = [timer for timer in self.timers if timer not in due]
        for _, work in due:
            work()


class Inline:
    """A device whose harts send by themselves; `answers`: so many frames come back for each."""

    def __init__(self, features: int = 0, answers: int = 0) -> None:
        self.wire, self.io, self.later = Wire(), FakeIo(), deque()
        self.answers = answers
        recorded = self.wire.send

        def send(frames) -> None:
            recorded(frames)
            for _ in range(self.answers):
                self.wire.port.receive(Frame(FRAME))

        self.wire.send = send
        ram = Ram()
        self.device = VirtioNet(ram, self.wire, mac=MAC, io=self.io)
        self.driver = Driver(ram, self.device, defer=self.later.append).start(features, 64)

    def run_later(self) -> None:
        while self.later:
            self.later.popleft()()

    def send(self, frame: bytes = FRAME) -> int:
        """How many frames have reached the backend before anything else ran."""
        before = len(self.wire.sent)
        self.driver.submit(1, Segment(HEADER + frame))
        at_once = len(self.wire.sent) - before
        self.run_later()
        assert len(self.wire.sent) == before + 1
        return at_once


def test_a_small_frame_is_sent_at_once_while_the_io_thread_sleeps_but_not_in_a_stream():
    bench = Inline()
    assert [bench.send() for _ in range(INLINE_AFTER + 1)] == [0] * INLINE_AFTER + [1]
    bench.io.sleeps = False
    assert bench.send() == 0
    bench.io.sleeps = True
    assert bench.send() == 1
    assert bench.send(bytes(INLINE_BYTES_MAX + 1)) == 0
    assert [bench.send() for _ in range(INLINE_AFTER + 1)] == [0] * INLINE_AFTER + [1]
    bench.driver.submit(1, Segment(HEADER[:5]))
    bench.run_later()
    assert bench.driver.needs_reset


def test_a_stream_that_nobody_answers_is_for_the_io_thread():
    bench = Inline()
    for _ in range(INLINE_AFTER):
        bench.send()
    assert [bench.send() for _ in range(INLINE_UNANSWERED_MAX + 2)] == [1] * INLINE_UNANSWERED_MAX + [0, 0]
    bench.wire.port.receive(Frame(FRAME))
    assert bench.send() == 1


def test_buffers_that_a_hart_sent_return_with_the_next_answer_or_soon():
    bench = Inline()
    driver = bench.driver
    for _ in range(INLINE_AFTER):
        bench.send()
    driver.queues[1].collect()
    driver.interrupt()
    bench.send()
    bench.send()
    assert driver.interrupt() == 0 and driver.queues[1].collect() == [], "not an interrupt for each"
    driver.submit(0, Segment(room=1500))
    bench.wire.port.receive(Frame(FRAME))
    bench.run_later()
    assert driver.interrupt() == 1 and [len(queue.collect()) for queue in driver.queues] == [1, 2, 0]
    bench.io.advance(HOLD_NS)
    assert driver.interrupt() == 0
    bench.send()
    bench.io.advance(HOLD_NS - 1)
    assert driver.queues[1].collect() == []
    bench.io.advance(1)
    assert driver.interrupt() == 1 and len(driver.queues[1].collect()) == 1 and bench.io.timers == []
    for _ in range(HELD_MAX):
        assert bench.send() == 1
        if len(bench.device.state.held) < HELD_MAX:
            bench.device._unanswered = 0
    assert len(driver.queues[1].collect()) == HELD_MAX


def test_an_answer_at_once_makes_one_interrupt_for_both_queues():
    bench = Inline(answers=1)
    for _ in range(INLINE_AFTER + 1):
        bench.driver.submit(0, Segment(room=1500))
    for _ in range(INLINE_AFTER):
        bench.send()
    bench.driver.interrupt()
    bench.driver.queues[1].collect()
    bench.driver.submit(1, Segment(HEADER + FRAME))
    assert bench.driver.interrupt() == 1 and len(bench.driver.queues[1].collect()) == 1
    assert bench.later == deque()


def test_held_buffers_are_part_of_the_state_and_a_reset_forgets_them():
    bench = Inline()
    for _ in range(INLINE_AFTER + 2):
        bench.send()
    assert len(bench.device.state.held) == 2
    bench.device.restored()
    for wrong in ([256], [-1], list(range(HELD_MAX + 1))):
        bench.device.state.held = wrong
        with pytest.raises(ConfigError):
            bench.device.restored()
    bench.driver.start(0)
    bench.io.advance(HOLD_NS)
    assert bench.device.state.held == [] and bench.driver.queues[1].collect() == []
