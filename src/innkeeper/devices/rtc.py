# SPDX-License-Identifier: Apache-2.0
"""Goldfish real-time clock: wall time in nanoseconds and one alarm.

Spec: Android goldfish "GOLDFISH-VIRTUAL-HARDWARE.TXT", "Goldfish timer"; Linux drivers/rtc/rtc-goldfish.c.
"""

from dataclasses import dataclass

from innkeeper.devices.ports import Clock, InterruptLine
from innkeeper.devices.saved import require

_TIME_LOW, _TIME_HIGH, _ALARM_LOW, _ALARM_HIGH = 0x00, 0x04, 0x08, 0x0C
_IRQ_ENABLED, _CLEAR_ALARM, _ALARM_STATUS, _CLEAR_INTERRUPT = 0x10, 0x14, 0x18, 0x1C
_MASK_32 = 0xFFFF_FFFF
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF


@dataclass
class RtcState:
    """`offset_ns` is what the guest's clock is ahead of the host's wall clock."""

    offset_ns: int = 0
    latched_time_ns: int = 0
    time_high: int = 0
    alarm_ns: int = 0
    alarm_high: int = 0
    alarm_armed: bool = False
    interrupt_enabled: bool = False
    interrupt_pending: bool = False


class GoldfishRtc:
    """32-bit registers. The low half of a 64-bit value is read first and latches the high half; written last.

    The device has no timer: the machine asks `deadline_ns` and calls `poll` when it is reached.
    """

    def __init__(self, line: InterruptLine, clock: Clock) -> None:
        self._line = line
        self._clock = clock
        self.state = RtcState()

    def reset(self) -> None:
        """Power-on state, except that the time the guest has set is kept, as a battery keeps it."""
        self.state = RtcState(offset_ns=self.state.offset_ns)
        self._update_line()

    def restore(self, state: RtcState) -> None:
        """Go on from there; the time is the host's, as if a battery had kept it. ConfigError if it cannot be.

        An alarm that has come due meanwhile fires at the next `poll`.
        """
        numbers = (state.latched_time_ns, state.alarm_ns, state.time_high, state.alarm_high)
        require(all(0 <= number <= _MASK_64 for number in numbers), "a register of the clock")
        require(abs(state.offset_ns) <= _MASK_64, "the clock's offset")
        self.state = state

    def deadline_ns(self) -> int | None:
        """Nanoseconds from now until the alarm is due (0: overdue); None when none is armed."""
        return max(0, self.state.alarm_ns - self._time_ns()) if self.state.alarm_armed else None

    def poll(self) -> None:
        """Fire the alarm if it is due."""
        state = self.state
        if state.alarm_armed and state.alarm_ns <= self._time_ns():
            state.alarm_armed = False
            state.interrupt_pending = True
            self._update_line()

    def read(self, offset: int, size_bytes: int) -> int:
        state = self.state
        if offset == _TIME_LOW:
            state.latched_time_ns = self._time_ns()
            return state.latched_time_ns & _MASK_32
        if offset == _TIME_HIGH:
            return state.latched_time_ns >> 32 & _MASK_32
        if offset == _ALARM_LOW:
            return state.alarm_ns & _MASK_32
        if offset == _ALARM_HIGH:
            return state.alarm_ns >> 32 & _MASK_32
        if offset == _IRQ_ENABLED:
            return int(state.interrupt_enabled)
        return int(state.alarm_armed) if offset == _ALARM_STATUS else 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        state, value = self.state, value & _MASK_32
        if offset == _TIME_LOW:
            state.offset_ns = (state.time_high << 32 | value) - self._clock.wall_ns()
            self.poll()
        elif offset == _TIME_HIGH:
            state.time_high = value
        elif offset == _ALARM_LOW:
            state.alarm_ns = state.alarm_high << 32 | value
            state.alarm_armed = True
            self.poll()
        elif offset == _ALARM_HIGH:
            state.alarm_high = value
        elif offset == _IRQ_ENABLED:
            state.interrupt_enabled = bool(value & 1)
            self._update_line()
        elif offset == _CLEAR_ALARM:
            state.alarm_armed = False
        elif offset == _CLEAR_INTERRUPT:
            state.interrupt_pending = False
            self._update_line()

    def _time_ns(self) -> int:
        return (self._clock.wall_ns() + self.state.offset_ns) & _MASK_64

    def _update_line(self) -> None:
        self._line(int(self.state.interrupt_enabled and self.state.interrupt_pending))
