# SPDX-License-Identifier: Apache-2.0
"""The engine as the machine sees it: budgets, exits, interrupts, several harts."""

from __future__ import annotations

import threading

import pytest

from innkeeper.engines.engine import Exit, ExitReason
from innkeeper.engines.reference.turns import Turns
from innkeeper.isa.riscv.state import (
    EXIT_SIZE,
    FAULT_TVAL,
    MCAUSE,
    MEPC,
    MIE,
    MSTATUS,
    MTVAL,
    PC,
    POLL_INTERVAL,
    PRIV,
    SCAUSE,
    SEPC,
    STVEC,
    X,
)
from innkeeper.spec.riscv import MIP_SEIP, MIP_SSIP, MSTATUS_SIE, PRIV_M, PRIV_S
from tests.unit.engines.reference.one_vcpu import HANDLER, NOP, SPIN, Bench
from tests.unit.isa.riscv.bare_hart import CODE, RAM_BASE, encode

UART = 0x1000_0000


COUNT = [encode("addi", rd=1, rs1=1, imm=1), encode("jal", imm=-4)]


def test_reset_gives_arguments_and_privilege() -> None:
    bench = Bench(COUNT)
    words = bench.vcpu.words
    assert (words[PC], words[PRIV], words[X + 10], words[X + 11]) == (CODE, PRIV_S, 10, 11)
    bench.vcpu.run(7)
    bench.vcpu.reset(CODE, PRIV_M, 0, 0)
    assert (words[PRIV], words[X + 1], bench.retired) == (PRIV_M, 0, 0)


@pytest.mark.parametrize("budget", [0, 1, 2, 7, POLL_INTERVAL, POLL_INTERVAL + 1, 3 * POLL_INTERVAL - 1])
def test_budget_is_exact(budget: int) -> None:
    bench = Bench(COUNT)
    assert bench.vcpu.run(budget) == Exit(ExitReason.BUDGET)
    assert bench.vcpu.words[X + 1] == (budget + 1) // 2
    assert bench.retired == budget


def test_a_trapped_attempt_takes_one() -> None:
    bench = Bench([0, 0])
    bench.vcpu.run(1)
    assert (bench.vcpu.words[PC], bench.vcpu.words[SCAUSE], bench.retired) == (HANDLER, 2, 1)


def test_an_interrupt_takes_none() -> None:
    bench = Bench(COUNT)
    bench.vcpu.words[MSTATUS] |= MSTATUS_SIE
    bench.vcpu.words[MIE] = MIP_SEIP
    bench.vcpu.set_interrupt(MIP_SEIP, 1)
    bench.vcpu.run(1)
    assert bench.vcpu.words[SEPC] == CODE
    assert (bench.vcpu.words[PC], bench.retired) == (HANDLER, 1)


def test_interrupts_are_seen_behind_system_instructions_at_once() -> None:
    bench = Bench([encode("csrrsi", csr=0x100, uimm=MSTATUS_SIE), NOP, NOP])
    bench.vcpu.words[MIE] = MIP_SSIP
    bench.vcpu.post_ipi()
    bench.vcpu.run(1)
    assert (bench.vcpu.words[PC], bench.vcpu.words[SEPC]) == (HANDLER, CODE + 4)
    assert bench.vcpu.words[SCAUSE] == 1 << 63 | 1


def test_lines_follow_their_level() -> None:
    bench = Bench()
    bench.vcpu.set_interrupt(MIP_SEIP | 8, 1)
    bench.vcpu.set_interrupt(8, 0)
    bench.put(CODE, [encode("csrrs", rd=5, csr=0x144)])
    bench.vcpu.run(1)
    assert bench.vcpu.words[X + 5] == MIP_SEIP


def test_device_read_and_write() -> None:
    bench = Bench([encode("lb", rd=3, rs1=1, imm=5), encode("sw", rs1=1, rs2=3, imm=8), SPIN])
    bench.vcpu.words[X + 1] = UART
    assert bench.vcpu.run(10) == Exit(ExitReason.MMIO_READ, UART + 5, 1)
    assert bench.retired == 0
    bench.vcpu.complete_read(0x1F0)
    assert (bench.vcpu.words[X + 3], bench.retired) == ((1 << 64) - 16, 1)
    assert bench.vcpu.run(10) == Exit(ExitReason.MMIO_WRITE, UART + 8, 4, 0xFFFF_FFF0)
    assert (bench.vcpu.words[PC], bench.retired) == (CODE + 8, 2)
    assert bench.vcpu.run(3) == Exit(ExitReason.BUDGET)


@pytest.mark.parametrize(("name", "cause"), [("ld", 5), ("sd", 7)])
def test_nothing_there(name: str, cause: int) -> None:
    bench = Bench([NOP, encode(name, rs1=1)], PRIV_M)
    bench.vcpu.words[X + 1] = UART
    bench.vcpu.run(10)
    bench.vcpu.raise_exception(cause, bench.vcpu.words[FAULT_TVAL])
    words = bench.vcpu.words
    assert (words[MCAUSE], words[MEPC], words[MTVAL], words[PC]) == (cause, CODE + 4, UART, HANDLER)
    assert (bench.retired, words[EXIT_SIZE]) == (2, 8)


def test_environment_call_is_answered_by_the_machine() -> None:
    bench = Bench([encode("ecall"), encode("add", rd=1, rs1=10), SPIN])
    assert bench.vcpu.run(10) == Exit(ExitReason.ECALL)
    assert (bench.vcpu.words[PC], bench.retired) == (CODE, 0)
    bench.vcpu.words[X + 10] = 99
    bench.vcpu.complete_ecall()
    bench.vcpu.run(1)
    assert (bench.vcpu.words[X + 1], bench.retired) == (99, 2)


def test_idle_and_the_interrupt_that_ends_it() -> None:
    bench = Bench([encode("wfi"), SPIN])
    bench.vcpu.words[MIE] = MIP_SEIP
    assert bench.vcpu.run(10) == Exit(ExitReason.IDLE)
    assert (bench.vcpu.words[PC], bench.retired) == (CODE + 4, 1)
    bench.vcpu.words[PC] = CODE
    bench.vcpu.set_interrupt(MIP_SEIP, 1)
    assert bench.vcpu.run(3) == Exit(ExitReason.BUDGET)


def test_interrupt_ends_run_and_is_then_over() -> None:
    bench = Bench([SPIN])
    bench.vcpu.interrupt()
    assert bench.vcpu.run(10) == Exit(ExitReason.INTERRUPTED)
    assert bench.vcpu.run(10) == Exit(ExitReason.BUDGET)
    thread = threading.Thread(target=bench.vcpu.interrupt)
    thread.start()
    assert bench.vcpu.run(1 << 40) == Exit(ExitReason.INTERRUPTED)
    thread.join()


def test_modified_code_is_executed() -> None:
    bench = Bench(COUNT)
    bench.vcpu.run(2)
    bench.put(CODE, [encode("addi", rd=1, rs1=1, imm=100)])
    bench.vcpu.run(1)
    assert bench.vcpu.words[X + 1] == 101


def test_supervisor_timer_by_clock_and_by_instructions() -> None:
    bench = Bench([SPIN])
    bench.put(CODE, [encode("csrrw", csr=0x14D, rs1=5), SPIN])
    bench.vcpu.words[X + 5] = 100
    bench.vcpu.words[MIE] = 1 << 5
    bench.vcpu.words[MSTATUS] |= MSTATUS_SIE
    bench.vcpu.run(10)
    assert bench.vcpu.words[PC] == CODE + 4
    bench.time_ns = 10_000
    bench.vcpu.run(1)
    assert bench.vcpu.words[SCAUSE] == 1 << 63 | 5

    virtual = bench.add(1, instructions_per_tick=10)
    virtual.reset(CODE, PRIV_S, 0, 0)
    virtual.words[STVEC] = HANDLER
    virtual.words[X + 5] = 100
    virtual.words[MIE] = 1 << 5
    virtual.words[MSTATUS] |= MSTATUS_SIE
    virtual.run(2)
    virtual.run(997)
    assert virtual.words[PC] == CODE + 4, "999 instructions are 99 ticks"
    virtual.run(1)
    virtual.run(1)
    assert virtual.words[PC] == HANDLER


def test_two_harts_count_to_the_right_sum() -> None:
    counter = RAM_BASE + 0x8000
    program = [
        encode("lr.w", rd=5, rs1=1),
        encode("addi", rd=5, rs1=5, imm=1),
        encode("sc.w", rd=6, rs1=1, rs2=5),
        encode("bne", rs1=6, imm=-12),
        encode("amoadd.d", rs1=2, rs2=7),
        encode("addi", rd=8, rs1=8, imm=-1),
        encode("bne", rs1=8, imm=-24),
        encode("ecall"),
    ]
    bench = Bench(program)
    vcpus = [bench.vcpu, bench.add(1), bench.add(2)]
    for vcpu in vcpus:
        vcpu.reset(CODE, PRIV_S, 0, 0)
        words = vcpu.words
        words[X + 1], words[X + 2], words[X + 7], words[X + 8] = counter, counter + 8, 3, 2000
    exits: list[Exit] = []
    threads = [threading.Thread(target=lambda v=v: exits.append(v.run(1 << 30))) for v in vcpus]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [e.reason for e in exits] == [ExitReason.ECALL] * 3
    assert bench.ram.get(counter, 4) == 6000
    assert bench.ram.get(counter + 8) == 18000


def test_turns_are_granted_in_order() -> None:
    turns = Turns()
    order: list[int] = []
    ready = [threading.Event() for _ in range(4)]

    def wait(index: int) -> None:
        ready[index].set()
        with turns:
            order.append(index)

    threads = []
    with turns:
        for i in range(4):
            thread = threading.Thread(target=wait, args=(i,))
            thread.start()
            ready[i].wait(10)
            while len(turns._waiting) <= i:
                pass
            threads.append(thread)
        assert order == []
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2, 3]
