# SPDX-License-Identifier: Apache-2.0
"""One hart of the machine: its vCPU, its HSM state, and how its thread sleeps.

Who changes something a sleeping hart waits for does so first and calls `wake` afterwards; the hart says that
it sleeps first and looks afterwards. So no wake-up is lost, and a running hart costs no system call.
"""

from __future__ import annotations

import contextlib
import threading

from innkeeper.engines.engine import Vcpu
from innkeeper.isa.riscv import state
from innkeeper.machine.clock import NS_PER_TICK, Clock
from innkeeper.spec.riscv import MENVCFG_STCE, MIP_MTIP, MIP_SSIP, MIP_STIP, PRIV_S
from innkeeper.spec.sbi import HartState

MASK_64 = (1 << 64) - 1
_SLEEP_MAX_S = 3600.0
"""A hart looks around at least this often; threading refuses very long time-outs."""

_KEPT_BY_SUSPEND = (
    state.MIE,
    state.STIMECMP,
    state.SCOUNTEREN,
    state.CYCLE_OFFSET,
    state.INSTRET_OFFSET,
)


class Hart:
    """`state` is what SBI's HSM extension reports; `running` tells the thread to go on calling `vcpu.run`."""

    def __init__(self, vcpu: Vcpu, clock: Clock) -> None:
        self.vcpu = vcpu
        self.index = vcpu.index
        self.words = vcpu.words
        self.state = HartState.STOPPED
        self.running = False
        self.start_request: tuple[int, int] | None = None
        """Address and opaque value of a start by SBI that the hart's thread has yet to carry out."""
        self.suspend_request: tuple[int, int] | None = None
        """While SUSPENDED: where a non-retentive suspend goes on, and the opaque value; None: at the call."""
        self.waits = False
        """Stopped at a WFI by who runs it in turns, and not to be run before an event."""
        self._clock = clock
        self._asleep = False
        self._wake = threading.Lock()
        """A binary semaphore: taken while there is nothing to wake up for."""
        self._wake.acquire()

    def start(self, pc: int, opaque: int) -> None:
        """Reset and start in S-mode at physical address `pc` with a0 = hart id, a1 = `opaque`, satp = 0.

        The engine leaves what firmware would have set up: delegation, counters, menvcfg, PMP.
        Spec: riscv-sbi 2.0, 9.1 "Function: Hart start", table "HSM Hart Start Register State".
        """
        self.vcpu.reset(pc, PRIV_S, self.index, opaque)

    def resume(self, pc: int, opaque: int) -> None:
        """As `start`, after a non-retentive suspend: the timer, enabled interrupts and counters stay.

        Spec: riscv-sbi 2.0, 9.4 "Function: Hart suspend", table "HSM Hart Resume Register State".
        """
        words = self.words
        kept = [(index, words[index]) for index in _KEPT_BY_SUSPEND]
        retired = self.retired()
        self.start(pc, opaque)
        for index, value in kept:
            words[index] = value
        words[state.INSTRET], words[state.SLICE], words[state.BUDGET] = retired, 0, 0
        # An IPI may have come during the reset; one that is spurious is allowed, a lost one is not.
        self.vcpu.post_ipi()

    def set_line(self, mip_bit: int, level: int) -> None:
        """Drive an interrupt line of this hart. From any thread."""
        self.vcpu.set_interrupt(mip_bit, level)
        if level and self._asleep:
            self.wake()

    def post_ipi(self) -> None:
        """Raise a supervisor software interrupt. From any thread."""
        self.vcpu.post_ipi()
        self.wake()

    def halt(self) -> None:
        """Make the thread leave its run loop, whether it executes or sleeps. From any thread."""
        self.running = False
        self.vcpu.interrupt()
        self.wake()

    def wake(self) -> None:
        """End the sleep of this hart's thread, if it sleeps. From any thread."""
        if self._asleep:
            with contextlib.suppress(RuntimeError):  # somebody else has done so in this moment
                self._wake.release()

    def time_ticks(self) -> int:
        """`time` of this hart in ticks of the timebase."""
        words = self.words
        instructions_per_tick = words[state.VIRTUAL_CLOCK]
        if instructions_per_tick:
            ticks = self.retired() // instructions_per_tick
        else:
            ticks = self._clock.now_ns() // NS_PER_TICK
        return (ticks + words[state.TIME_OFFSET]) & MASK_64

    def set_time_ticks(self, ticks: int) -> None:
        """Let `time` be `ticks` now."""
        self.words[state.TIME_OFFSET] = 0
        self.words[state.TIME_OFFSET] = (ticks - self.time_ticks()) & MASK_64

    def retired(self) -> int:
        """Instructions executed since reset."""
        words = self.words
        return (words[state.INSTRET] + words[state.SLICE] - words[state.BUDGET]) & MASK_64

    def has_event(self) -> bool:
        """Whether `vcpu.run` may find something to do: an enabled interrupt, or it is to stop.

        Other harts' requests to flush do not count: they are served before the next instruction anyway.
        """
        words = self.words
        pending = words[state.IRQ_LINES] | words[state.MIP]
        if words[state.IPI_MAIL]:
            pending |= MIP_SSIP
        return bool(pending & words[state.MIE] or words[state.STOP])

    def ticks_until_timer(self) -> int | None:
        """Ticks until an enabled timer of this hart is due, 0 if it is; None if none is enabled."""
        words = self.words
        enabled = words[state.MIE]
        due = MASK_64
        if enabled & MIP_STIP and words[state.MENVCFG] & MENVCFG_STCE:
            due = words[state.STIMECMP]
        if enabled & MIP_MTIP:
            due = min(due, words[state.MTIMECMP])
        return None if due == MASK_64 else max(0, due - self.time_ticks())

    def sleep_until_event(self) -> None:
        """Sleep until an interrupt may be pending, the timer is due or the thread is to stop."""
        self._asleep = True
        try:
            if not self.running or self.has_event():
                return
            ticks = self.ticks_until_timer()
            if ticks is None:
                self._wake.acquire(timeout=_SLEEP_MAX_S)
            elif ticks:
                self._wake.acquire(timeout=min(ticks * NS_PER_TICK / 1e9, _SLEEP_MAX_S))
        finally:
            self._asleep = False

    def sleep_until_start(self, ending: threading.Event) -> None:
        """Sleep until somebody has put a `start_request` or the machine ends."""
        self._asleep = True
        try:
            while self.start_request is None and not ending.is_set():
                self._wake.acquire(timeout=_SLEEP_MAX_S)
        finally:
            self._asleep = False
