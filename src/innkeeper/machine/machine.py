# SPDX-License-Identifier: Apache-2.0
"""The machine: harts on threads of their own, devices under one lock, and what ends or resets all of it.

A hart's thread holds no lock while guest code runs. It takes the lock for an MMIO access only; SBI calls take
it where they touch the console. Whoever ends the machine first decides the outcome.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from innkeeper.devices.syscon import PowerRequest
from innkeeper.engines.engine import Engine, Exit, ExitReason, GuestRam
from innkeeper.errors import ConfigError, InnkeeperError
from innkeeper.host.forked import fork_processes
from innkeeper.host.memory import GuestMemory
from innkeeper.isa.riscv import state
from innkeeper.machine.board import Board, Peripherals
from innkeeper.machine.board_tree import TreeParameters
from innkeeper.machine.boot import BootConfig, load
from innkeeper.machine.clock import NS_PER_TICK, Clock
from innkeeper.machine.firmware_console import FirmwareConsole
from innkeeper.machine.hart import Hart
from innkeeper.machine.hart_threads import HartThreads
from innkeeper.machine.io_loop import IoLoop
from innkeeper.machine.rest import Rest
from innkeeper.machine.sbi import Sbi
from innkeeper.spec import board as spec
from innkeeper.spec.riscv import CAUSE_LOAD_ACCESS, CAUSE_STORE_ACCESS, PRIV_M
from innkeeper.spec.sbi import HartState

_SLICE_INSTRUCTIONS = 4_000_000
"""Budget of one `run`: a few milliseconds on a compiled engine. Wake-ups do not wait for its end."""
_SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the GIL while another wants it; Python's own 5 ms would delay every exit."""
_RNG_SEED_BYTES = 64
T = TypeVar("T")
_RESET_INSTRUCTIONS = 500
"""How far each hart gets on its own when firmware starts, before all run at the same time."""


class Ending(Enum):
    """Why the machine stopped."""

    POWER_OFF = "power-off"
    FAILED = "failure reported by the guest"
    CRASHED = "crash"
    STOPPED = "stopped by the host"
    RESET = "reset"
    """Only inside: the machine starts again."""


@dataclass(frozen=True)
class Outcome:
    """How it ended; `code` is what the guest reported (FAILED), `reason` a sentence for the user."""

    ending: Ending
    reason: str = ""
    code: int = 0


@dataclass(frozen=True)
class MachineConfig:
    """Size of the machine and what it boots. `instructions_per_tick` > 0 makes its time virtual."""

    boot: BootConfig
    hart_count: int = 1
    memory_bytes: int = 512 << 20
    instructions_per_tick: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.hart_count <= spec.MAX_HARTS:
            raise ConfigError(f"{self.hart_count} CPUs cannot be had", f"choose 1 to {spec.MAX_HARTS}")
        if self.memory_bytes < spec.MIN_MEMORY_BYTES or self.memory_bytes % spec.PAGE_BYTES:
            least = f"choose at least {spec.MIN_MEMORY_BYTES >> 20} MiB, in whole pages of 4 KiB"
            raise ConfigError(f"{self.memory_bytes / (1 << 20):g} MiB of memory cannot be had", least)


EngineFactory = Callable[[GuestRam], Engine]


class VirtMachine:
    """One machine. `run` it from any one thread; `stop` and everything of `board` (under `lock`) from others.

    `clock` is the host's monotonic one, or a `VirtualClock` together with `run_round_robin`.
    """

    def __init__(
        self, config: MachineConfig, make_engine: EngineFactory, peripherals: Peripherals, clock: Clock
    ) -> None:
        self.config = config
        self.clock = clock
        self.lock = threading.RLock()
        self.memory = GuestMemory(spec.RAM_BASE, config.memory_bytes)
        self.io = IoLoop(self.lock, clock, self._io_failed)
        self.harts: Sequence[Hart] = ()
        self._make_engine = make_engine
        self._engine: Engine | None = None
        self._peripherals = peripherals
        self._rest = Rest(self._halt_harts, self._stop_time, self._start_time)
        self._stopped_ticks: list[int] = []
        """During a pause: `time` of the machine and of each hart."""
        self._continues = False
        """The next `run` goes on with the state that was put in place instead of booting."""
        self._ending = threading.Event()
        self._ending_lock = threading.RLock()  # a signal handler may end the machine in the middle
        self._outcome: Outcome | None = None
        self._host_error: BaseException | None = None
        self._last_outcome: Outcome | None = None
        """What ends the machine for good, as opposed to a reset."""
        self._closed = False
        self._epoch_ns = clock.now_ns()
        self.firmware_console = FirmwareConsole(peripherals.uart_output)
        self.sbi = Sbi(self)
        self._create_harts()
        self.board = Board(self.memory, peripherals, clock, self, hart_count=config.hart_count)

    # What runs the machine.

    def run(self) -> Outcome:
        """Power on and run until the machine ends; resets in between start it again.

        Raises InnkeeperError for a boot file that is wrong; what escaped from our own code is raised as is.
        """
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self.io.start()
        try:
            while True:
                if not self._continues:
                    self.power_on()
                    self._leave_reset()
                self._continues = False
                self._run_to_end()
                outcome = self.outcome()
                if outcome.ending is not Ending.RESET:
                    return outcome
                self._prepare_reset()
        finally:
            self._rest.close()

    def _run_to_end(self) -> None:
        while True:
            self._rest.serve(self._ending.is_set)
            if not self.io.is_started:  # this is the child of a fork
                self.io.start()
            if self._ending.is_set():
                return
            mains = [functools.partial(self._hart_main, hart) for hart in self.harts]
            HartThreads(mains, lambda: self.end(Outcome(Ending.STOPPED, "interrupted"))).run()

    def power_on(self) -> None:
        """Place the boot files in zeroed RAM and let the boot hart wait for its first instruction."""
        config = self.config
        tree = TreeParameters(
            config.hart_count,
            config.memory_bytes,
            rng_seed=self._peripherals.read_entropy(_RNG_SEED_BYTES),
            virtio_slots=len(self.board.transports),
        )
        entry = load(config.boot, self.memory, tree)
        for hart in self.harts:
            if entry.privilege != PRIV_M:
                hart.state = HartState.STOPPED
                continue
            hart.vcpu.reset(entry.pc, PRIV_M, hart.index, entry.devicetree)
            hart.words[state.X + 12] = entry.dynamic_info
            hart.set_time_ticks(0)
            hart.state = HartState.STARTED
        if entry.privilege != PRIV_M:
            self.harts[0].state = HartState.START_PENDING
            self.harts[0].start_request = (entry.pc, entry.devicetree)
        self._epoch_ns = self.clock.now_ns()

    def _leave_reset(self) -> None:
        """Let harts that start in firmware leave reset together, as hardware does.

        A host under load may start the thread of one hart long after that of another. OpenSBI takes harts to
        be no more than some thousand instructions apart: one that draws its lottery after the boot hart is
        done overwrites the word in which that was said, and waits for it for ever.
        """
        for hart in self.harts:
            if hart.state == HartState.STARTED:
                event = hart.vcpu.run(_RESET_INSTRUCTIONS)
                if event.reason != ExitReason.IDLE:
                    self.answer(hart, event)

    def _create_harts(self) -> None:
        config = self.config
        firmware = config.boot.firmware is not None
        self._engine = self._make_engine(self.memory)
        self.memory.written = getattr(self._engine, "memory_written", None)
        self.harts = [
            Hart(
                self._engine.create_vcpu(
                    index, ecall_exits=not firmware, instructions_per_tick=config.instructions_per_tick
                ),
                self.clock,
            )
            for index in range(config.hart_count)
        ]

    def _prepare_reset(self) -> None:
        """Everything as at power-on: devices, RAM, and an engine that knows nothing of the former code."""
        with self.lock:
            self.board.reset()
            with self._ending_lock:
                self._close_engine()
                self.memory.clear()
                self._create_harts()
                # What was asked for while the machine was on its way down counts still.
                self._outcome = self._last_outcome
                if self._outcome is None:
                    self._ending.clear()

    def _close_engine(self) -> None:
        """Nobody may call a hart of a closed engine: there is none from now on. Both locks are held."""
        self.harts = ()
        self.memory.written = None
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def stop(self, reason: str = "") -> None:
        """Stop as when the plug is pulled. From any thread; `run` returns soon."""
        self.end(Outcome(Ending.STOPPED, reason))

    def end(self, outcome: Outcome) -> None:
        """Make the harts leave; the first outcome counts, but any comes before a reset. From any thread."""
        with self._ending_lock:
            if outcome.ending is not Ending.RESET and self._last_outcome is None:
                self._last_outcome = outcome
            if self._outcome is None or self._outcome.ending is Ending.RESET:
                self._outcome = self._last_outcome or outcome
            self._ending.set()
            self._rest.end()
            for hart in self.harts:
                hart.halt()

    def _halt_harts(self) -> None:
        with self._ending_lock:
            for hart in self.harts:
                hart.halt()

    @property
    def is_ending(self) -> bool:
        """Whether somebody has ended this run of the machine."""
        return self._ending.is_set()

    def outcome(self) -> Outcome:
        """How it ended; raises what escaped from our own code."""
        if self._host_error is not None:
            raise self._host_error
        return self._outcome or Outcome(Ending.STOPPED)

    # Standing still, for who saves or forks the machine.

    def at_rest(self, work: Callable[[], T]) -> T:
        """Have `work` done while no hart runs and no device works, by the thread of `run`; gives its result.

        Guest time goes on meanwhile, as when the host is busy. The machine's lock is held and deferred work
        of devices is done. From any thread that does not hold the lock, once there is a `run`; waits. Raises
        what `work` does; GuestError if the machine ends before.
        """
        return self._rest.call(lambda: self._rested(work))

    def pause(self) -> None:
        """Let the harts stand still until `resume`; returns when they do. Guest time stands still as well.

        The guest's wall clock then lags behind: its RTC is right, and the VMM may tell it. Host streams go
        on filling the guest's buffers. From threads that do not hold the lock; GuestError if it ends before.
        """
        self._rest.pause()

    def resume(self) -> None:
        """End a pause; harmless without one. From any thread."""
        self._rest.resume()

    @property
    def is_paused(self) -> bool:
        """Whether it was paused and not resumed since."""
        return self._rest.is_paused

    def go_on_from_state(self) -> None:
        """State was put in place from outside: the first `run` goes on with it instead of booting."""
        self._continues = True

    def fork(self, count: int, pids: list[int]) -> int | None:
        """See `innkeeper.machine.fork.fork`, which is what is to be called."""
        assert self._engine is not None
        guard, number = self._engine.before_fork(), None
        try:
            with self._ending_lock:
                number = fork_processes(count, pids)
                if number is not None:
                    self._rest.forked()
                    self.io.forked()
        finally:
            guard.finish(is_child=number is not None)
        return number

    def _rested(self, work: Callable[[], T]) -> T:
        with self.lock:
            self.io.run_deferred()
            return work()

    def _stop_time(self) -> None:
        self._stopped_ticks = [self.time_ticks(), *(hart.time_ticks() for hart in self.harts)]

    def _start_time(self) -> None:
        ticks, *hart_ticks = self._stopped_ticks
        self.set_time_ticks(ticks)
        for hart, value in zip(self.harts, hart_ticks, strict=True):
            hart.set_time_ticks(value)

    def close(self) -> None:
        """Free RAM, engine and I/O thread. Nothing may run any more; harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        self.io.stop()
        with self.lock:
            self.board.reset()  # queues hold views of RAM
            with self._ending_lock:
                self._close_engine()
            self.memory.close()

    def _io_failed(self, error: BaseException) -> None:
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, InnkeeperError):
            self.end(Outcome(Ending.CRASHED, str(error)))
            return
        if self._host_error is None:
            self._host_error = error
        self.end(Outcome(Ending.CRASHED, f"internal error: {error!r}"))

    # What a hart's thread does.

    def _hart_main(self, hart: Hart) -> None:
        try:
            while not self._rest.leave.is_set():
                if hart.state == HartState.STOPPED:
                    hart.sleep_until_start(self._rest.leave)
                elif self.begin(hart):
                    self._run_hart(hart)
        except BaseException as error:
            self._fail(error)

    def begin(self, hart: Hart) -> bool:
        """Carry out a start that was asked for; whether the hart may now run."""
        request = hart.start_request
        if request is not None:
            hart.start(*request)
            hart.set_time_ticks(self.time_ticks())
            hart.start_request = None
            hart.state = HartState.STARTED
        # Of a halt that found the hart asleep; else it would end a suspend.
        hart.words[state.STOP] = 0
        hart.running = True
        # Who wants harts to leave says so before it clears `running`: one of the two is seen here.
        return not self._rest.leave.is_set()

    def _run_hart(self, hart: Hart) -> None:
        run, answer = hart.vcpu.run, self.answer
        if hart.state == HartState.SUSPENDED:
            self._suspend(hart)
        while hart.running:
            event = run(_SLICE_INSTRUCTIONS)
            if event.reason == ExitReason.IDLE:
                hart.sleep_until_event()
            else:
                answer(hart, event)
                if hart.state == HartState.SUSPENDED:
                    self._suspend(hart)

    def _suspend(self, hart: Hart) -> None:
        while hart.running and not hart.has_event() and hart.ticks_until_timer() != 0:
            hart.sleep_until_event()
        if hart.running:
            self.end_suspend(hart)

    def end_suspend(self, hart: Hart) -> None:
        """End a suspend asked for by SBI."""
        request, hart.suspend_request = hart.suspend_request, None
        hart.state = HartState.STARTED
        if request is not None:
            hart.resume(*request)

    def answer(self, hart: Hart, event: Exit) -> None:
        """Do what a vCPU left `run` for, except IDLE. Called by the hart's own thread."""
        reason = event.reason
        if reason == ExitReason.MMIO_WRITE:
            with self.lock:
                done = self.board.bus.write(event.address, event.size_bytes, event.value)
            if not done:
                hart.vcpu.raise_exception(CAUSE_STORE_ACCESS, hart.words[state.FAULT_TVAL])
        elif reason == ExitReason.MMIO_READ:
            with self.lock:
                value = self.board.bus.read(event.address, event.size_bytes)
            if value is None:
                hart.vcpu.raise_exception(CAUSE_LOAD_ACCESS, hart.words[state.FAULT_TVAL])
            else:
                hart.vcpu.complete_read(value)
        elif reason == ExitReason.ECALL:
            self.sbi.call(hart)
            # Also when the hart is to leave: the call would be made twice.
            if hart.state != HartState.STOPPED:
                hart.vcpu.complete_ecall()
        elif reason == ExitReason.ERROR or reason == ExitReason.BREAKPOINT:
            pc = hart.words[state.PC]
            self.end(Outcome(Ending.CRASHED, f"hart {hart.index} cannot go on at pc {pc:#x} ({reason.name})"))

    # What the board asks for (BoardSurroundings).

    def set_line(self, hart: int, mip_bit: int, level: int) -> None:
        """Drive an interrupt line of a hart."""
        if hart < len(self.harts):
            self.harts[hart].set_line(mip_bit, level)

    def set_mtimecmp(self, hart: int, ticks: int) -> None:
        """Set a hart's machine timer; its sleep is as long as the timer says, so it looks again."""
        if hart < len(self.harts):
            self.harts[hart].words[state.MTIMECMP] = ticks
            self.harts[hart].wake()

    def get_mtimecmp(self, hart: int) -> int:
        """A hart's machine timer in ticks."""
        return self.harts[hart].words[state.MTIMECMP] if hart < len(self.harts) else 0

    def time_ticks(self) -> int:
        """Ticks since power-on."""
        return (self.clock.now_ns() - self._epoch_ns) * spec.TIMEBASE_HZ // 1_000_000_000

    def set_time_ticks(self, ticks: int) -> None:
        """Let `time_ticks` be `ticks` now."""
        self._epoch_ns = self.clock.now_ns() - ticks * NS_PER_TICK

    def power_request(self, request: PowerRequest, code: int) -> None:
        """The test device was written."""
        if request is PowerRequest.RESET:
            self.reset()
        elif request is PowerRequest.FAIL:
            self.end(Outcome(Ending.FAILED, f"the guest reported failure {code}", code))
        else:
            self.end(Outcome(Ending.POWER_OFF))

    def defer(self, work: Callable[[], None]) -> None:
        """Run `work` on the I/O thread."""
        self.io.call_soon(work)

    def alarm_changed(self) -> None:
        """Look at the clock's alarm when it is due."""
        remaining_ns = self.board.rtc.deadline_ns()
        if remaining_ns is not None:
            self.io.call_at(self.clock.now_ns() + remaining_ns, self.board.rtc.poll)

    # What SBI asks for (SbiPlatform).

    def read_memory(self, address: int, size_bytes: int) -> bytes:
        """Guest RAM; GuestError outside."""
        return self.memory.read(address, size_bytes)

    def write_memory(self, address: int, data: bytes) -> None:
        """Guest RAM; GuestError outside."""
        with self.lock:
            self.memory.write(address, data)

    def remote_fence(self, hart_mask: int, *, instruction: bool) -> None:
        """Make the harts flush before returning."""
        assert self._engine is not None
        self._engine.remote_fence(hart_mask, instruction=instruction)

    def console_write(self, data: bytes) -> None:
        """Output of the debug console goes where the serial line's goes."""
        with self.lock:
            self.firmware_console.write(data)

    def console_read(self, limit_bytes: int) -> bytes:
        """Input of the debug console."""
        with self.lock:
            return self.firmware_console.read(limit_bytes)

    def power_off(self, *, failed: bool) -> None:
        """System reset call, shutdown."""
        self.end(
            Outcome(Ending.FAILED, "the guest reported failure", 1) if failed else Outcome(Ending.POWER_OFF)
        )

    def reset(self) -> None:
        """System reset call, reboot."""
        self.end(Outcome(Ending.RESET))
