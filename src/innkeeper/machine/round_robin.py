# SPDX-License-Identifier: Apache-2.0
"""Runs a machine on one thread in virtual time: the same input gives the same run, to the instruction.

Harts take turns of a fixed number of instructions. Time is what the instructions say: each turn lasts
`slice / instructions_per_tick` ticks for everybody. Devices see the time of the hart that asks them, unless
another one was ahead of it. When all harts sleep the clock jumps to the next timer.
"""

from __future__ import annotations

from innkeeper.engines.engine import ExitReason
from innkeeper.errors import ConfigError
from innkeeper.machine.clock import NS_PER_TICK, VirtualClock
from innkeeper.machine.hart import Hart
from innkeeper.machine.machine import Ending, Outcome, VirtMachine
from innkeeper.spec.sbi import HartState


class RoundRobin:
    """Owns the turns of one machine, whose clock has to be a `VirtualClock`.

    `slice_instructions` is the length of a turn. Nothing else may call the machine's `run`.
    """

    def __init__(self, machine: VirtMachine, slice_instructions: int = 10_000) -> None:
        if machine.config.instructions_per_tick <= 0 or not isinstance(machine.clock, VirtualClock):
            raise ConfigError("a deterministic run needs virtual time", "set instructions_per_tick")
        self._machine = machine
        self._clock = machine.clock
        self._slice = slice_instructions

    def run(self, limit_instructions: int) -> Outcome | None:
        """Power on and run until the machine ends (a reset ends it too), or for so many instructions.

        Returns None at the limit; `go_on` continues from there.
        """
        self._machine.power_on()
        return self.go_on(limit_instructions)

    def go_on(self, limit_instructions: int) -> Outcome | None:
        """Run on for `limit_instructions` per hart at most."""
        machine = self._machine
        for _ in range(max(1, limit_instructions // self._slice)):
            start = machine.time_ticks()
            ran = [self._turn(hart, start) for hart in machine.harts]
            machine.io.run_due()
            if machine.is_ending:
                return machine.outcome()
            if any(ran):
                self._advance_to(start + self._slice // machine.config.instructions_per_tick)
            elif not self._skip_to_timer():
                return Outcome(Ending.STOPPED, "every hart sleeps and no timer is set")
        return None

    def _turn(self, hart: Hart, start_ticks: int) -> bool:
        """One slice of `hart` from that time on; whether it executed anything."""
        machine = self._machine
        if hart.state == HartState.STOPPED:
            return False
        if not hart.running and not machine.begin(hart):
            return False
        if hart.waits or hart.state == HartState.SUSPENDED:
            if not hart.has_event() and hart.ticks_until_timer() != 0:
                return False
            hart.waits = False
            if hart.state == HartState.SUSPENDED:
                machine.end_suspend(hart)
        hart.set_time_ticks(start_ticks)
        end = hart.retired() + self._slice
        while hart.running and hart.state == HartState.STARTED and hart.retired() < end:
            event = hart.vcpu.run(end - hart.retired())
            if event.reason == ExitReason.IDLE:
                hart.waits = True
                break
            self._move_clock_to(hart.time_ticks())
            machine.answer(hart, event)
        return True

    def _move_clock_to(self, ticks: int) -> None:
        self._clock.advance_ns(max(0, ticks - self._machine.time_ticks()) * NS_PER_TICK)

    def _advance_to(self, ticks: int) -> None:
        self._move_clock_to(ticks)
        for hart in self._machine.harts:
            hart.set_time_ticks(self._machine.time_ticks())

    def _skip_to_timer(self) -> bool:
        """Let time pass until the first timer is due, of a hart or of the host; False if there is none."""
        waits = [hart.ticks_until_timer() for hart in self._machine.harts if hart.state != HartState.STOPPED]
        due = [ticks for ticks in waits if ticks is not None]
        host_ns = self._machine.io.next_timer_ns()
        if host_ns is not None:
            due.append(-(-max(0, host_ns - self._clock.now_ns()) // NS_PER_TICK))
        if not due:
            return False
        self._advance_to(self._machine.time_ticks() + min(due))
        return True
