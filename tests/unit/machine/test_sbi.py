# SPDX-License-Identifier: Apache-2.0
"""SBI: what each call answers, and that no argument makes it answer with anything but an error code."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.errors import GuestError
from innkeeper.host.clock import HostClock
from innkeeper.host.memory import GuestMemory
from innkeeper.isa.riscv import state
from innkeeper.machine.hart import Hart
from innkeeper.machine.sbi import Sbi
from innkeeper.spec.board import RAM_BASE
from innkeeper.spec.sbi import Error, Extension, HartState
from tests.unit.machine.scripted import A0, A1, ScriptedEngine, answer, ecall

RAM_BYTES = 1 << 20
ALL = (1 << 64) - 1


class Platform:
    """Records what is asked of the machine."""

    def __init__(self, hart_count: int) -> None:
        self.engine = ScriptedEngine(lambda vcpu: iter(()))
        self.harts: Sequence[Hart] = [
            Hart(self.engine.create_vcpu(index, ecall_exits=True), HostClock()) for index in range(hart_count)
        ]
        self.memory = GuestMemory(RAM_BASE, RAM_BYTES)
        self.output = bytearray()
        self.input = bytearray()
        self.requests: list[str] = []

    def read_memory(self, address: int, size_bytes: int) -> bytes:
        return self.memory.read(address, size_bytes)

    def write_memory(self, address: int, data: bytes) -> None:
        self.memory.write(address, data)

    def remote_fence(self, hart_mask: int, *, instruction: bool) -> None:
        self.engine.remote_fence(hart_mask, instruction=instruction)

    def console_write(self, data: bytes) -> None:
        self.output += data

    def console_read(self, limit_bytes: int) -> bytes:
        data = bytes(self.input[:limit_bytes])
        del self.input[:limit_bytes]
        return data

    def power_off(self, *, failed: bool) -> None:
        self.requests.append("failed" if failed else "off")

    def reset(self) -> None:
        self.requests.append("reset")


class Caller:
    """Calls from hart 0 of four, of which the last is stopped."""

    def __init__(self) -> None:
        self.platform = Platform(4)
        self.sbi = Sbi(self.platform)
        for hart in self.platform.harts[:3]:
            hart.state = HartState.STARTED
            hart.running = True
        self.hart = self.platform.harts[0]

    def __call__(self, extension: int, function: int, *arguments: int) -> tuple[int, int]:
        ecall(self.platform.engine.vcpus[0], extension, function, *arguments)
        self.sbi.call(self.hart)
        return answer(self.platform.engine.vcpus[0])


@pytest.fixture
def call() -> Caller:
    return Caller()


def test_base(call: Caller) -> None:
    assert call(Extension.BASE, 0) == (0, 2 << 24)
    for extension in (Extension.BASE, Extension.TIME, Extension.IPI, Extension.RFENCE, Extension.HSM,
                      Extension.SRST, Extension.DBCN, Extension.LEGACY_CONSOLE_PUTCHAR):  # fmt: skip
        assert call(Extension.BASE, 3, extension) == (0, 1)
    assert call(Extension.BASE, 3, 0x504D55) == (0, 0)
    assert call(Extension.BASE, 7)[0] == Error.NOT_SUPPORTED
    assert call(0x504D55, 0)[0] == Error.NOT_SUPPORTED


def test_ipi_reaches_the_named_harts(call: Caller) -> None:
    assert call(Extension.IPI, 0, 0b11, 1) == (0, 0)
    assert [hart.words[state.IPI_MAIL] for hart in call.platform.harts] == [0, 1, 1, 0]
    assert call(Extension.IPI, 0, 0, ALL) == (0, 0)
    assert [hart.words[state.IPI_MAIL] for hart in call.platform.harts] == [1, 1, 1, 0]


@pytest.mark.parametrize(("mask", "base"), [(1, 4), (0b10000, 0), (ALL, 0), (1, ALL - 1), (0b100, 2)])
def test_a_mask_with_harts_that_do_not_exist(call: Caller, mask: int, base: int) -> None:
    assert call(Extension.IPI, 0, mask, base)[0] == Error.INVALID_PARAM
    assert call(Extension.RFENCE, 1, mask, base, 0, ALL)[0] == Error.INVALID_PARAM
    assert not call.platform.engine.fences


def test_fences(call: Caller) -> None:
    assert call(Extension.RFENCE, 0, 0b110, 0) == (0, 0)
    assert call(Extension.RFENCE, 1, 0, ALL, 0, ALL) == (0, 0)
    assert call(Extension.RFENCE, 2, 0b1000, 0, 0, 0, 7) == (0, 0)  # a stopped hart has nothing to flush
    assert call(Extension.RFENCE, 3, 1, 0)[0] == Error.NOT_SUPPORTED
    assert call.platform.engine.fences == [(0b110, True), (0b111, False)]


def test_hart_start_checks_its_arguments(call: Caller) -> None:
    assert call(Extension.HSM, 0, 4, RAM_BASE, 0)[0] == Error.INVALID_PARAM
    assert call(Extension.HSM, 0, 3, 0x1000_0000, 0)[0] == Error.INVALID_ADDRESS
    assert call(Extension.HSM, 0, 3, RAM_BASE + 1, 0)[0] == Error.INVALID_ADDRESS
    assert call(Extension.HSM, 0, 3, RAM_BASE + RAM_BYTES, 0)[0] == Error.INVALID_ADDRESS
    assert call(Extension.HSM, 0, 0, RAM_BASE, 0)[0] == Error.ALREADY_AVAILABLE
    assert call(Extension.HSM, 0, 3, RAM_BASE, 5) == (0, 0)
    assert call.platform.harts[3].start_request == (RAM_BASE, 5)
    assert call(Extension.HSM, 2, 3) == (0, HartState.START_PENDING)
    assert call(Extension.HSM, 0, 3, RAM_BASE, 5)[0] == Error.ALREADY_AVAILABLE
    assert call(Extension.HSM, 2, 4)[0] == Error.INVALID_PARAM


def test_suspend_checks_its_arguments(call: Caller) -> None:
    assert call(Extension.HSM, 3, 1, 0, 0)[0] == Error.INVALID_PARAM
    assert call(Extension.HSM, 3, 1 << 32, 0, 0)[0] == Error.INVALID_PARAM
    assert call(Extension.HSM, 3, 0x8000_0000, 3, 0)[0] == Error.INVALID_ADDRESS
    assert call.hart.state == HartState.STARTED


def test_debug_console_writes(call: Caller) -> None:
    call.platform.memory.write(RAM_BASE + 8, b"hello")
    assert call(Extension.DBCN, 0, 5, RAM_BASE + 8, 0) == (0, 5)
    assert call(Extension.DBCN, 2, ord("!")) == (0, 0)
    assert call.platform.output == b"hello!"
    assert call(Extension.DBCN, 0, 0, 0, 0) == (0, 0)


@pytest.mark.parametrize(
    ("size_bytes", "low", "high"),
    [
        (1, 0, 0),
        (1, RAM_BASE + RAM_BYTES, 0),
        (2, RAM_BASE + RAM_BYTES - 1, 0),
        (ALL, RAM_BASE, 0),
        (5, RAM_BASE, 1),
        (RAM_BYTES + 1, RAM_BASE, 0),
    ],
)
def test_debug_console_refuses_what_is_not_ram(call: Caller, size_bytes: int, low: int, high: int) -> None:
    for function in (0, 1):
        assert call(Extension.DBCN, function, size_bytes, low, high)[0] == Error.INVALID_PARAM
    assert not call.platform.output


def test_one_debug_console_call_is_short(call: Caller) -> None:
    assert call(Extension.DBCN, 0, RAM_BYTES, RAM_BASE, 0) == (0, 4096)


def test_debug_console_reads(call: Caller) -> None:
    call.platform.input += b"typed"
    assert call(Extension.DBCN, 1, 3, RAM_BASE, 0) == (0, 3)
    assert call(Extension.DBCN, 1, 100, RAM_BASE + 3, 0) == (0, 2)
    assert call(Extension.DBCN, 1, 100, RAM_BASE, 0) == (0, 0)
    assert call.platform.memory.read(RAM_BASE, 5) == b"typed"


def test_legacy_calls_leave_a1(call: Caller) -> None:
    call.platform.input += b"x"
    assert call(Extension.LEGACY_CONSOLE_GETCHAR, 0, 0, 77) == (ord("x"), 77)
    assert call(Extension.LEGACY_CONSOLE_GETCHAR, 0, 0, 77) == (-1, 77)
    assert call(Extension.LEGACY_CONSOLE_PUTCHAR, 0, ord("y"), 77) == (0, 77)
    assert call.platform.output == b"y"
    assert call(Extension.LEGACY_SET_TIMER, 0, 123, 77) == (0, 77)
    assert call.hart.words[state.STIMECMP] == 123
    call(Extension.LEGACY_SHUTDOWN, 0)
    assert call.platform.requests == ["off"]


def test_system_reset(call: Caller) -> None:
    assert call(Extension.SRST, 0, 3, 0)[0] == Error.INVALID_PARAM
    assert call(Extension.SRST, 0, 0, 2)[0] == Error.INVALID_PARAM
    assert call(Extension.SRST, 1)[0] == Error.NOT_SUPPORTED
    call(Extension.SRST, 0, 0, 0)
    call(Extension.SRST, 0, 0, 1)
    call(Extension.SRST, 0, 1, 0)
    call(Extension.SRST, 0, 2, 0)
    assert call.platform.requests == ["off", "failed", "reset", "reset"]


WORD = st.one_of(
    st.integers(0, ALL),
    st.integers(0, 16),
    st.sampled_from([RAM_BASE, RAM_BASE + RAM_BYTES - 1, RAM_BASE + RAM_BYTES, ALL, 1 << 63, 0x8000_0000]),
)


@given(st.sampled_from([*Extension, 0x504D55]), WORD, st.lists(WORD, min_size=6, max_size=6))
def test_any_call_ends_with_an_answer(extension: int, function: int, arguments: list[int]) -> None:
    call = Caller()
    call.platform.input += b"input"
    legacy = extension < Extension.BASE
    error, _ = call(extension, function, *arguments)
    assert legacy or error in set(Error)
    for index in (A0, A1):
        assert 0 <= call.hart.words[index] <= ALL
    for hart in call.platform.harts:
        request = hart.start_request or hart.suspend_request
        if request is not None:
            call.platform.read_memory(request[0], 2)  # inside RAM, or this raises
    call.platform.memory.close()


def test_two_harts_that_start_the_same_one(call: Caller) -> None:
    """Exactly one of them succeeds."""
    barrier = threading.Barrier(3)
    errors: list[int] = []

    def start(index: int) -> None:
        vcpu = call.platform.engine.vcpus[index]
        ecall(vcpu, Extension.HSM, 0, 3, RAM_BASE, index)
        barrier.wait()
        call.sbi.call(call.platform.harts[index])
        errors.append(answer(vcpu)[0])

    threads = [threading.Thread(target=start, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(errors) == [Error.ALREADY_AVAILABLE, Error.ALREADY_AVAILABLE, Error.SUCCESS]


def test_memory_outside_is_a_guest_error(call: Caller) -> None:
    with pytest.raises(GuestError):
        call.platform.read_memory(RAM_BASE - 1, 2)
