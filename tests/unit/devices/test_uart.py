# SPDX-License-Identifier: Apache-2.0
"""The serial port as Linux's 8250 driver and OpenSBI use it."""

from hypothesis import given
from hypothesis import strategies as st

from innkeeper.devices.uart import FIFO_BYTES, INPUT_LIMIT_BYTES, Uart

RBR, THR, IER, IIR, FCR, LCR, MCR, LSR, MSR, SCR = 0, 0, 1, 2, 2, 3, 4, 5, 6, 7


class Bench:
    """A serial port with its line level and what it has sent."""

    def __init__(self) -> None:
        self.level = 0
        self.sent = bytearray()
        self.uart = Uart(self._drive, self.sent.extend)

    def _drive(self, level: int) -> None:
        self.level = level

    def read(self, offset: int) -> int:
        return self.uart.read(offset, 1)

    def write(self, offset: int, value: int) -> None:
        self.uart.write(offset, 1, value)


def test_transmitted_bytes_leave_in_order_and_the_transmitter_is_always_empty():
    bench = Bench()
    for byte in b"hello\r\n":
        assert bench.read(LSR) & 0x60 == 0x60
        bench.write(THR, byte)
    assert bytes(bench.sent) == b"hello\r\n"


def test_divisor_latch_hides_data_and_interrupt_registers():
    bench = Bench()
    bench.write(IER, 0x05)
    bench.write(LCR, 0x83)
    bench.write(0, 0x34)
    bench.write(1, 0x12)
    assert (bench.read(0), bench.read(1)) == (0x34, 0x12)
    bench.write(LCR, 0x03)
    assert bench.read(IER) == 0x05
    assert not bench.sent


def test_transmit_interrupt_rises_when_enabled_and_falls_when_identified():
    bench = Bench()
    bench.write(IER, 0x02)
    assert bench.level == 1
    assert bench.read(IIR) & 0x0F == 0x02
    assert bench.level == 0
    assert bench.read(IIR) & 0x0F == 0x01
    bench.write(THR, 0x41)
    assert bench.level == 1
    bench.write(IER, 0x00)
    assert bench.level == 0
    bench.write(IER, 0x02)
    assert bench.level == 1, "Linux enables the interrupt again to be told that the register is empty"


def test_received_bytes_below_the_trigger_raise_the_time_out():
    bench = Bench()
    bench.write(FCR, 0x81)  # FIFO on, trigger at 8 bytes
    bench.write(IER, 0x01)
    assert bench.uart.receive(b"abc") == 3
    assert bench.level == 1
    assert bench.read(IIR) == 0xCC
    bench.uart.receive(b"defgh")
    assert bench.read(IIR) == 0xC4
    received = bytes(bench.read(RBR) for _ in range(8))
    assert received == b"abcdefgh"
    assert bench.level == 0
    assert not bench.read(LSR) & 1


def test_input_has_priority_over_the_transmitter():
    bench = Bench()
    bench.write(IER, 0x03)
    bench.uart.receive(b"x")
    assert bench.read(IIR) & 0x0F == 0x04
    assert bench.read(RBR) == ord("x")
    assert bench.read(IIR) & 0x0F == 0x02


def test_input_is_bounded_and_space_is_announced_once():
    bench = Bench()
    announced = []
    bench.uart.on_space = lambda: announced.append(1)
    assert bench.uart.receive(bytes(INPUT_LIMIT_BYTES + 5)) == INPUT_LIMIT_BYTES
    assert bench.uart.receive(b"y") == 0
    for _ in range(INPUT_LIMIT_BYTES):
        bench.read(RBR)
    assert announced == [1]


def test_loopback_feeds_data_and_modem_lines_back():
    bench = Bench()
    bench.write(MCR, 0x1A)  # loopback, RTS, OUT2: what the 8250 driver's autoconfiguration writes
    assert bench.read(MSR) & 0xF0 == 0x90
    bench.write(THR, 0x55)
    assert not bench.sent
    assert bench.read(LSR) & 1 and bench.read(RBR) == 0x55
    for _ in range(FIFO_BYTES + 1):
        bench.write(THR, 0x33)
    assert bench.read(LSR) & 2, "the seventeenth byte overruns"
    assert not bench.read(LSR) & 2, "reading the status clears it"
    bench.write(MCR, 0)
    assert bench.read(MSR) & 0xF0 == 0xB0


def test_clearing_the_receive_fifo_drops_only_what_the_guest_could_see():
    bench = Bench()
    bench.write(FCR, 0x01)
    bench.uart.receive(bytes(range(20)))
    bench.write(FCR, 0x03)
    assert bench.read(RBR) == 16


def test_reset_restores_power_on_state_and_lowers_the_line():
    bench = Bench()
    bench.write(IER, 0x03)
    bench.write(SCR, 0x77)
    bench.uart.receive(b"left over")
    bench.uart.reset()
    assert bench.level == 0
    assert (bench.read(IER), bench.read(SCR), bench.read(LSR) & 1) == (0, 0, 0)


ACCESS = st.tuples(st.booleans(), st.integers(0, 300), st.sampled_from([1, 2, 4, 8]), st.integers(0, 2**64))


@given(st.lists(ACCESS))
def test_any_access_is_answered_and_reads_fit_a_byte(accesses):
    bench = Bench()
    bench.uart.receive(b"some input")
    for is_write, offset, size_bytes, value in accesses:
        if is_write:
            bench.uart.write(offset, size_bytes, value)
        else:
            assert 0 <= bench.uart.read(offset, size_bytes) <= 0xFF
