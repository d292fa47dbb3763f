# SPDX-License-Identifier: Apache-2.0
"""The interruptor, the clock and the power device."""

from dataclasses import dataclass

import pytest

from innkeeper.devices.clint import Clint
from innkeeper.devices.rtc import GoldfishRtc
from innkeeper.devices.syscon import PowerRequest, Syscon

NEVER = 2**64 - 1


class Harts:
    """Two harts' timers and software interrupts, as the engine keeps them."""

    def __init__(self) -> None:
        self.msip = [0, 0]
        self.mtimecmp = [NEVER, NEVER]
        self.time = 0x1_2345_6789
        self.clint = Clint(
            hart_count=2,
            set_msip=self.msip.__setitem__,
            set_mtimecmp=self.mtimecmp.__setitem__,
            get_mtimecmp=self.mtimecmp.__getitem__,
            time_ticks=lambda: self.time,
        )


def test_msip_of_each_hart_is_one_bit():
    harts = Harts()
    harts.clint.write(4, 4, 0xFFFF_FFFF)
    assert harts.msip == [0, 1]
    assert (harts.clint.read(0, 4), harts.clint.read(4, 4)) == (0, 1)
    harts.clint.write(0, 8, 1)
    assert harts.msip == [1, 0]


def test_mtimecmp_in_one_store_or_two_halves():
    harts = Harts()
    harts.clint.write(0x4008, 8, 0x1122334455667788)
    assert harts.mtimecmp == [NEVER, 0x1122334455667788]
    harts.clint.write(0x4008, 4, 0xAABBCCDD)
    harts.clint.write(0x400C, 4, 0x1)
    assert harts.mtimecmp[1] == 0x1_AABBCCDD
    assert harts.clint.read(0x400C, 4) == 1


def test_mtime_is_the_machines_and_ignores_writes():
    harts = Harts()
    harts.clint.write(0xBFF8, 8, 5)
    assert harts.clint.read(0xBFF8, 8) == 0x1_2345_6789
    assert harts.clint.read(0xBFFC, 4) == 1


@pytest.mark.parametrize(
    "offset,size_bytes", [(8, 4), (0x4010, 8), (0x4001, 4), (0x4004, 8), (0, 2), (0xFFFF, 1)]
)
def test_holes_and_misaligned_accesses_do_nothing(offset, size_bytes):
    harts = Harts()
    harts.clint.write(offset, size_bytes, NEVER)
    assert harts.clint.read(offset, size_bytes) == 0
    assert (harts.msip, harts.mtimecmp) == ([0, 0], [NEVER, NEVER])


def test_reset_stops_timers_and_software_interrupts():
    harts = Harts()
    harts.clint.write(0, 4, 1)
    harts.clint.write(0x4000, 8, 7)
    harts.clint.reset()
    assert (harts.msip, harts.mtimecmp) == ([0, 0], [NEVER, NEVER])


@dataclass
class FixedClock:
    """A clock that the test moves."""

    wall: int = 1_700_000_000_000_000_000

    def now_ns(self) -> int:
        return self.wall

    def wall_ns(self) -> int:
        return self.wall


class RtcBench:
    def __init__(self) -> None:
        self.level = 0
        self.clock = FixedClock()
        self.rtc = GoldfishRtc(self._drive, self.clock)

    def _drive(self, level: int) -> None:
        self.level = level

    def time_ns(self) -> int:
        low = self.rtc.read(0, 4)
        self.clock.wall += 1 << 32  # the latched high half must not see this
        high = self.rtc.read(4, 4)
        self.clock.wall -= 1 << 32
        return high << 32 | low

    def set_alarm(self, at_ns: int) -> None:
        self.rtc.write(0x0C, 4, at_ns >> 32)
        self.rtc.write(0x08, 4, at_ns & 0xFFFFFFFF)


def test_the_clock_shows_wall_time_in_two_consistent_halves():
    bench = RtcBench()
    assert bench.time_ns() == bench.clock.wall


def test_the_guest_can_set_the_time_and_reset_keeps_it():
    bench = RtcBench()
    bench.rtc.write(4, 4, 0x1000)
    bench.rtc.write(0, 4, 0x2000)
    bench.clock.wall += 500
    bench.rtc.reset()
    assert bench.time_ns() == (0x1000 << 32 | 0x2000) + 500


def test_an_alarm_fires_at_its_deadline_and_is_acknowledged():
    bench = RtcBench()
    bench.rtc.write(0x10, 4, 1)
    bench.set_alarm(bench.clock.wall + 1000)
    assert bench.rtc.read(0x18, 4) == 1
    assert bench.rtc.deadline_ns() == 1000
    bench.rtc.poll()
    assert bench.level == 0
    bench.clock.wall += 1500
    assert bench.rtc.deadline_ns() == 0
    bench.rtc.poll()
    assert (bench.level, bench.rtc.deadline_ns(), bench.rtc.read(0x18, 4)) == (1, None, 0)
    bench.rtc.write(0x1C, 4, 1)
    assert bench.level == 0


def test_an_alarm_in_the_past_fires_at_once_and_a_cleared_one_never():
    bench = RtcBench()
    bench.rtc.write(0x10, 4, 1)
    bench.set_alarm(1)
    assert bench.level == 1
    bench.rtc.write(0x1C, 4, 1)
    bench.set_alarm(bench.clock.wall + 10)
    bench.rtc.write(0x14, 4, 1)
    bench.clock.wall += 100
    bench.rtc.poll()
    assert bench.level == 0


@pytest.mark.parametrize(
    "value,expected",
    [
        (0x5555, (PowerRequest.POWER_OFF, 0)),
        (0x7777, (PowerRequest.RESET, 0)),
        (0x0007_3333, (PowerRequest.FAIL, 7)),
        (0x0001_5555, (PowerRequest.POWER_OFF, 0)),
    ],
)
def test_power_requests(value, expected):
    requests = []
    device = Syscon(lambda request, code: requests.append((request, code)))
    device.write(0, 4, value)
    assert requests == [expected]


def test_other_values_and_offsets_are_not_requests():
    requests = []
    device = Syscon(lambda request, code: requests.append(request))
    device.write(0, 4, 0x1234)
    device.write(4, 4, 0x5555)
    assert not requests and device.read(0, 4) == 0
