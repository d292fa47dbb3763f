# SPDX-License-Identifier: Apache-2.0
"""The machine's loop: answers, sleep and wake-up, start and stop of harts, reset and the ways to end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from innkeeper.engines.engine import Exit, ExitReason
from innkeeper.errors import ConfigError, GuestError
from innkeeper.isa.riscv import state
from innkeeper.machine.boot import BootConfig
from innkeeper.machine.machine import Ending, MachineConfig, Outcome
from innkeeper.spec import board
from innkeeper.spec.riscv import CAUSE_LOAD_ACCESS, CAUSE_STORE_ACCESS, MIP_SSIP, MIP_STIP, PRIV_S
from innkeeper.spec.sbi import Extension, HartState
from tests.unit.machine.conftest import MakeRig
from tests.unit.machine.scripted import ScriptedVcpu, answer, ecall

Exits = Iterator[Exit]
SHUTDOWN = (Extension.SRST, 0, 0, 0)
NEVER = (1 << 64) - 1


def write(address: int, value: int, size_bytes: int = 4) -> Exit:
    return Exit(ExitReason.MMIO_WRITE, address, size_bytes, value)


def read(address: int, size_bytes: int = 4) -> Exit:
    return Exit(ExitReason.MMIO_READ, address, size_bytes)


def power_off() -> Exit:
    return write(board.TEST.base, 0x5555)


def test_a_guest_that_powers_off_ends_the_machine(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Exits:
        for byte in b"hi":
            yield write(board.UART.base, byte, 1)
        yield power_off()

    rig = make_rig(script)
    assert rig.run() == Outcome(Ending.POWER_OFF)
    assert rig.output == b"hi"
    vcpu = rig.engine.vcpus[0]
    (pc, privilege, a0, a1) = vcpu.resets[0]
    assert (pc, privilege, a0) == (board.RAM_BASE + board.KERNEL_OFFSET, PRIV_S, 0)
    assert rig.machine.memory.read(a1, 4) == b"\xd0\x0d\xfe\xed"


def test_mmio_is_answered_and_holes_fault(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Exits:
        yield read(board.VIRTIO[0].base)
        yield read(board.VIRTIO[7].base + 8)  # an empty slot has device id 0
        yield read(0x4000_0000)
        yield write(0x4000_0000, 1)
        yield read(board.VIRTIO[0].base + 2)  # misaligned
        yield read(board.UART.base + board.UART.size_bytes, 1)
        yield power_off()

    rig = make_rig(script)
    rig.run()
    vcpu = rig.engine.vcpus[0]
    assert vcpu.reads == [0x74726976, 0]
    assert [cause for cause, _ in vcpu.exceptions] == [
        CAUSE_LOAD_ACCESS, CAUSE_STORE_ACCESS, CAUSE_LOAD_ACCESS, CAUSE_LOAD_ACCESS,
    ]  # fmt: skip


def test_a_sleeping_hart_wakes_for_its_timer_and_does_not_spin(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Exits:
        vcpu.words[state.MIE] = MIP_STIP
        now = rig.machine.harts[0].time_ticks()
        yield ecall(vcpu, Extension.TIME, 0, now + 200_000)  # 20 ms
        yield Exit(ExitReason.IDLE)
        woken.append(rig.machine.harts[0].time_ticks() - now)
        yield power_off()

    woken: list[int] = []
    rig = make_rig(script)
    rig.run()
    assert woken[0] >= 199_000
    assert rig.engine.vcpus[0].runs < 6


def test_a_timer_that_is_not_enabled_does_not_wake(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Exits:
        vcpu.words[state.STIMECMP] = 0
        asleep.set()
        yield Exit(ExitReason.IDLE)

    asleep = threading.Event()
    rig = make_rig(script)
    running = rig.start()
    assert asleep.wait(10)
    rig.machine.stop("enough")
    assert running.wait() == Outcome(Ending.STOPPED, "enough")


def test_stopping_an_idle_machine_ends_every_hart(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Exits:
        if vcpu.index == 0:
            yield ecall(vcpu, Extension.HSM, 0, 1, board.RAM_BASE, 0)
        asleep.release()
        while True:
            yield Exit(ExitReason.IDLE)

    asleep = threading.Semaphore(0)
    rig = make_rig(script, cpus=3)  # the third hart is never started
    running = rig.start()
    assert asleep.acquire(timeout=10) and asleep.acquire(timeout=10)
    rig.machine.stop()
    assert running.wait().ending is Ending.STOPPED


def test_stopping_a_busy_machine(make_rig: MakeRig) -> None:
    rig = make_rig(lambda vcpu: iter(()))
    running = rig.start()
    assert rig.engine.spinning.wait(10)
    rig.machine.stop()
    assert running.wait().ending is Ending.STOPPED


def test_a_machine_that_is_stopped_before_it_runs_does_not_start(make_rig: MakeRig) -> None:
    rig = make_rig(lambda vcpu: iter(()))
    rig.machine.stop("early")
    assert rig.run() == Outcome(Ending.STOPPED, "early")
    assert rig.engine.vcpus[0].runs == 0


@pytest.mark.parametrize("cpus", [2, 8])
def test_no_ipi_is_lost(make_rig: MakeRig, cpus: int) -> None:
    """A token goes round by IPI; each hart sleeps until it comes. One lost wake-up would hang the test."""
    rounds = 200

    def script(vcpu: ScriptedVcpu) -> Exits:
        vcpu.words[state.MIE] = MIP_SSIP
        if vcpu.index == 0:
            for hart in range(1, cpus):
                yield ecall(vcpu, Extension.HSM, 0, hart, board.RAM_BASE, 0)
                while rig.machine.harts[hart].state != HartState.STARTED:
                    yield Exit(ExitReason.BUDGET)
            yield ecall(vcpu, Extension.IPI, 0, 0b10, 0)
        for _ in range(rounds):
            while not vcpu.words[state.IPI_MAIL]:
                yield Exit(ExitReason.IDLE)
            vcpu.words[state.IPI_MAIL] = 0
            yield ecall(vcpu, Extension.IPI, 0, 1, (vcpu.index + 1) % cpus)
            if answer(vcpu)[0]:
                raise AssertionError(answer(vcpu))
        if vcpu.index == cpus - 1:
            yield power_off()
        while True:
            yield Exit(ExitReason.IDLE)

    rig = make_rig(script, cpus=cpus)
    assert rig.run().ending is Ending.POWER_OFF


def test_an_interrupt_line_wakes_a_sleeping_hart(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Exits:
        vcpu.words[state.MIE] = 1 << 9
        yield write(board.PLIC.base + 4 * board.UART.irq, 1)  # priority
        yield write(board.PLIC.base + 0x2080, 1 << board.UART.irq)  # enable in context 1
        yield write(board.UART.base + 1, 1, 1)  # IER: received data
        ready.set()
        while not vcpu.words[state.IRQ_LINES]:
            yield Exit(ExitReason.IDLE)
        yield read(board.PLIC.base + 0x20_1004)
        yield read(board.UART.base, 1)
        yield power_off()

    ready = threading.Event()
    rig = make_rig(script)
    running = rig.start()
    assert ready.wait(10)
    with rig.machine.lock:
        rig.machine.board.uart.receive(b"x")
    assert running.wait().ending is Ending.POWER_OFF
    assert rig.engine.vcpus[0].reads == [board.UART.irq, ord("x")]


def test_harts_start_and_stop_and_start_again(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Exits:
        if vcpu.index == 1:
            started.append((vcpu.words[state.PC], vcpu.words[state.X + 10], vcpu.words[state.X + 11]))
            yield ecall(vcpu, Extension.HSM, 1)
            raise AssertionError("hart_stop returned")
        for opaque in (7, 8):
            yield ecall(vcpu, Extension.HSM, 0, 1, board.RAM_BASE + 0x1000, opaque)
            assert answer(vcpu) == (0, 0)
            status = HartState.STARTED
            while status != HartState.STOPPED:
                yield ecall(vcpu, Extension.HSM, 2, 1)
                status = HartState(answer(vcpu)[1])
        yield power_off()

    started: list[tuple[int, int, int]] = []
    assert make_rig(script, cpus=2).run().ending is Ending.POWER_OFF
    assert started == [(board.RAM_BASE + 0x1000, 1, 7), (board.RAM_BASE + 0x1000, 1, 8)]


def test_a_hart_that_stops_last_can_still_be_stopped_by_the_host(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Exits:
        stopped.set()
        yield ecall(vcpu, Extension.HSM, 1)

    stopped = threading.Event()
    rig = make_rig(script)
    running = rig.start()
    assert stopped.wait(10)
    rig.machine.stop()
    assert running.wait().ending is Ending.STOPPED


@pytest.mark.parametrize("retentive", [True, False])
def test_suspend_ends_with_an_interrupt(make_rig: MakeRig, retentive: bool) -> None:
    resume_at = board.RAM_BASE + 0x2000

    def script(vcpu: ScriptedVcpu) -> Exits:
        if len(vcpu.resets) == 2:
            assert not retentive
            assert vcpu.words[state.PC] == resume_at and vcpu.words[state.X + 11] == 99
            assert vcpu.words[state.MIE] == MIP_STIP
            yield power_off()
        vcpu.words[state.MIE] = MIP_STIP
        yield ecall(vcpu, Extension.TIME, 0, rig.machine.harts[0].time_ticks() + 20_000)
        kind = 0 if retentive else 0x8000_0000
        yield ecall(vcpu, Extension.HSM, 3, kind, resume_at, 99)
        assert retentive and answer(vcpu) == (0, 0)
        yield power_off()

    rig = make_rig(script)
    assert rig.run().ending is Ending.POWER_OFF


def test_reset_begins_again_with_clean_memory_and_devices(make_rig: MakeRig) -> None:
    dirty = board.RAM_BASE + 0x5000

    def script(vcpu: ScriptedVcpu) -> Exits:
        boots.append(rig.machine.memory.read(dirty, 4))
        if len(boots) == 3:
            yield power_off()
        rig.machine.memory.write(dirty, b"dirt")
        yield write(board.UART.base + 7, 0x5A, 1)  # scratch register
        yield ecall(vcpu, Extension.SRST, 0, 1, 0) if len(boots) == 1 else write(board.TEST.base, 0x7777)
        raise AssertionError("reset returned")

    boots: list[bytes] = []
    rig = make_rig(script, cpus=2)
    assert rig.run().ending is Ending.POWER_OFF
    assert boots == [bytes(4)] * 3
    assert rig.machine.board.uart.read(7, 1) == 0
    assert len(rig.engine.vcpus) == 6  # a fresh engine for each boot


def test_a_stop_during_reset_wins(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Exits:
        rig.machine.reset()
        rig.machine.stop("stopped")
        yield Exit(ExitReason.BUDGET)

    rig = make_rig(script)
    assert rig.run() == Outcome(Ending.STOPPED, "stopped")


def test_a_guest_that_resets_for_ever_can_be_stopped(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Exits:
        boots.release()
        yield write(board.TEST.base, 0x7777)

    boots = threading.Semaphore(0)
    rig = make_rig(script)
    running = rig.start()
    for _ in range(5):
        assert boots.acquire(timeout=10)
    rig.machine.stop("enough")
    assert running.wait() == Outcome(Ending.STOPPED, "enough")


def test_failure_reported_by_the_guest(make_rig: MakeRig) -> None:
    rig = make_rig(lambda vcpu: iter([write(board.TEST.base, 3 << 16 | 0x3333)]))
    outcome = rig.run()
    assert (outcome.ending, outcome.code) == (Ending.FAILED, 3)


def test_an_engine_that_gives_up_is_a_crash_with_its_place(make_rig: MakeRig) -> None:
    rig = make_rig(lambda vcpu: iter([Exit(ExitReason.ERROR)]), cpus=2)
    outcome = rig.run()
    assert outcome.ending is Ending.CRASHED
    assert hex(board.RAM_BASE + board.KERNEL_OFFSET) in outcome.reason


def test_what_a_device_refuses_is_a_crash_and_a_defect_is_raised(make_rig: MakeRig) -> None:
    def refuse(vcpu: ScriptedVcpu) -> Exits:
        raise GuestError("no such thing")
        yield

    def defect(vcpu: ScriptedVcpu) -> Exits:
        raise ZeroDivisionError("ours")
        yield

    assert make_rig(refuse).run() == Outcome(Ending.CRASHED, "no such thing")
    with pytest.raises(ZeroDivisionError):
        make_rig(defect, cpus=2).run()


def test_the_rtc_alarm_fires_without_the_guest(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Exits:
        vcpu.words[state.MIE] = 1 << 9
        yield write(board.PLIC.base + 4 * board.RTC.irq, 1)
        yield write(board.PLIC.base + 0x2080, 1 << board.RTC.irq)
        yield write(board.RTC.base + 0x10, 1)
        yield read(board.RTC.base)
        yield read(board.RTC.base + 4)
        low, high = vcpu.reads
        alarm = (high << 32 | low) + 10_000_000
        yield write(board.RTC.base + 0xC, alarm >> 32)
        yield write(board.RTC.base + 8, alarm & 0xFFFF_FFFF)
        while not vcpu.words[state.IRQ_LINES]:
            yield Exit(ExitReason.IDLE)
        yield power_off()

    assert make_rig(script).run().ending is Ending.POWER_OFF


@pytest.mark.parametrize(
    ("cpus", "memory_bytes"), [(0, 1 << 27), (9, 1 << 27), (1, 1 << 20), (1, (64 << 20) + 1)]
)
def test_sizes_are_checked(cpus: int, memory_bytes: int) -> None:
    with pytest.raises(ConfigError):
        MachineConfig(BootConfig(None), cpus, memory_bytes)


def test_a_damaged_kernel_is_reported_by_run(make_rig: MakeRig, kernel: object) -> None:
    from pathlib import Path

    rig = make_rig(lambda vcpu: iter(()))
    assert isinstance(kernel, Path)
    kernel.write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match="not a riscv64 kernel"):
        rig.run()


def test_close_may_be_repeated(make_rig: MakeRig) -> None:
    rig = make_rig(lambda vcpu: iter([power_off()]))
    rig.run()
    rig.machine.close()
    rig.machine.close()
    rig.machine.stop()


def test_time_begins_at_zero_on_every_hart(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Exits:
        times[vcpu.index] = rig.machine.harts[vcpu.index].time_ticks()
        if vcpu.index == 1:
            yield power_off()
        yield ecall(vcpu, Extension.HSM, 0, 1, board.RAM_BASE, 0)
        while True:
            yield Exit(ExitReason.IDLE)

    times: dict[int, int] = {}
    rig = make_rig(script, cpus=2)
    rig.run()
    assert 0 <= times[0] <= times[1] < 10 * board.TIMEBASE_HZ


def test_shutdown_through_sbi(make_rig: MakeRig) -> None:
    def script(vcpu: ScriptedVcpu) -> Exits:
        yield ecall(vcpu, *SHUTDOWN)
        raise AssertionError("shutdown returned")

    assert make_rig(script, cpus=2).run() == Outcome(Ending.POWER_OFF)
