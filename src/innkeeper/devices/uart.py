# SPDX-License-Identifier: Apache-2.0
"""NS16550A serial port, byte registers at consecutive addresses as on QEMU's `virt` board.

The line is infinitely fast: a transmitted byte leaves at once, and received bytes wait in a bounded queue
whose first 16 bytes are what the guest sees as the receive FIFO. Nothing is lost: `receive` takes what fits
and the caller keeps the rest.

Spec: National Semiconductor PC16550D data sheet (1995), section 8 "Registers".
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from innkeeper.devices.ports import InterruptLine
from innkeeper.devices.saved import require

INPUT_LIMIT_BYTES = 65536
FIFO_BYTES = 16

# Register offsets; 0 and 1 are the divisor latch while LCR.DLAB is set.
_RBR_THR, _IER, _IIR_FCR, _LCR, _MCR, _LSR, _MSR, _SCR = range(8)

_IER_RECEIVE, _IER_TRANSMIT, _IER_MODEM = 0x01, 0x02, 0x08
_IIR_NONE, _IIR_MODEM, _IIR_TRANSMIT, _IIR_RECEIVE, _IIR_TIMEOUT = 0x01, 0x00, 0x02, 0x04, 0x0C
_IIR_FIFO_ENABLED = 0xC0
_FCR_ENABLE, _FCR_CLEAR_RECEIVE = 0x01, 0x02
_LCR_DLAB = 0x80
_MCR_DTR, _MCR_RTS, _MCR_OUT1, _MCR_OUT2, _MCR_LOOPBACK = 0x01, 0x02, 0x04, 0x08, 0x10
_LSR_DATA_READY, _LSR_OVERRUN, _LSR_THR_EMPTY, _LSR_TRANSMITTER_EMPTY = 0x01, 0x02, 0x20, 0x40
_MSR_CTS, _MSR_DSR, _MSR_RI, _MSR_DCD = 0x10, 0x20, 0x40, 0x80
_MSR_CONNECTED = _MSR_CTS | _MSR_DSR | _MSR_DCD

_TRIGGER_LEVELS = (1, 4, 8, 14)


@dataclass
class UartState:
    """Registers, and the bytes received but not yet read by the guest."""

    ier: int = 0
    fcr: int = 0
    lcr: int = 0
    mcr: int = _MCR_OUT2
    msr_delta: int = 0
    scr: int = 0
    divisor: int = 0x000C
    overrun: bool = False
    transmit_pending: bool = False
    input: bytearray = field(default_factory=bytearray)


class Uart:
    """An NS16550A. `transmit` gets each byte the guest sends; `receive` takes what the other end sends.

    `on_space` is called once when the queue has drained to half after `receive` had to refuse bytes.
    """

    def __init__(self, line: InterruptLine, transmit: Callable[[bytes], None]) -> None:
        self._line = line
        self._transmit = transmit
        self.on_space: Callable[[], None] | None = None
        self._space_wanted = False
        self.state = UartState()

    def reset(self) -> None:
        """Power-on state; bytes not yet read are dropped."""
        self.state = UartState()
        self._update_line()
        self._offer_space()

    def restore(self, state: UartState) -> None:
        """Go on from there; its line has its level. ConfigError if it cannot be."""
        registers = (state.ier, state.fcr, state.lcr, state.mcr, state.msr_delta, state.scr)
        require(all(0 <= value <= 0xFF for value in registers), "a register of the UART")
        require(0 <= state.divisor <= 0xFFFF, "the UART's divisor")
        require(len(state.input) <= INPUT_LIMIT_BYTES, "the UART's input")
        self.state = state

    def receive(self, data: bytes) -> int:
        """Queue `data` for the guest; returns how many of its first bytes were taken."""
        queue = self.state.input
        accepted = min(len(data), INPUT_LIMIT_BYTES - len(queue))
        queue += data[:accepted]
        self._space_wanted |= accepted < len(data)
        self._update_line()
        return accepted

    def read(self, offset: int, size_bytes: int) -> int:
        """The byte register at `offset`, whatever the access size; 0 outside the eight registers."""
        state = self.state
        if offset == _RBR_THR:
            return state.divisor & 0xFF if state.lcr & _LCR_DLAB else self._read_received()
        if offset == _IER:
            return state.divisor >> 8 if state.lcr & _LCR_DLAB else state.ier
        if offset == _IIR_FCR:
            return self._read_iir()
        if offset == _LCR:
            return state.lcr
        if offset == _MCR:
            return state.mcr
        if offset == _LSR:
            return self._read_lsr()
        if offset == _MSR:
            return self._read_msr()
        return state.scr if offset == _SCR else 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Write the low byte of `value`; read-only registers and addresses past the last ignore it."""
        state, value = self.state, value & 0xFF
        if offset == _RBR_THR:
            if state.lcr & _LCR_DLAB:
                state.divisor = state.divisor & 0xFF00 | value
            else:
                self._write_transmit(value)
        elif offset == _IER:
            if state.lcr & _LCR_DLAB:
                state.divisor = state.divisor & 0x00FF | value << 8
            else:
                self._write_ier(value & 0x0F)
        elif offset == _IIR_FCR:
            self._write_fcr(value)
        elif offset == _LCR:
            state.lcr = value
        elif offset == _MCR:
            self._write_mcr(value & 0x1F)
        elif offset == _SCR:
            state.scr = value

    def _read_received(self) -> int:
        queue = self.state.input
        if not queue:
            return 0
        byte = queue[0]
        del queue[0]
        self._update_line()
        if self._space_wanted and len(queue) <= INPUT_LIMIT_BYTES // 2:
            self._offer_space()
        return byte

    def _offer_space(self) -> None:
        if self._space_wanted:
            self._space_wanted = False
            if self.on_space is not None:
                self.on_space()

    def _write_transmit(self, value: int) -> None:
        state = self.state
        if state.mcr & _MCR_LOOPBACK:
            if len(state.input) < FIFO_BYTES:
                state.input.append(value)
            else:
                state.overrun = True
        else:
            self._transmit(bytes((value,)))
        # The byte has left already, so the holding register is empty again: a new event.
        state.transmit_pending = True
        self._update_line()

    def _write_ier(self, value: int) -> None:
        state = self.state
        if value & ~state.ier & _IER_TRANSMIT:
            # Enabling the interrupt while the holding register is empty raises it; Linux's 8250 tests for it.
            state.transmit_pending = True
        state.ier = value
        self._update_line()

    def _write_fcr(self, value: int) -> None:
        state = self.state
        if value & _FCR_CLEAR_RECEIVE or (value ^ state.fcr) & _FCR_ENABLE:
            # The guest clears what it could see; bytes still on their way behind the FIFO are kept.
            del state.input[: self._visible_bytes()]
            state.overrun = False
        state.fcr = value & (0xC8 | _FCR_ENABLE) if value & _FCR_ENABLE else 0
        self._update_line()

    def _write_mcr(self, value: int) -> None:
        state = self.state
        before = self._modem_lines()
        state.mcr = value
        after = self._modem_lines()
        changed = before ^ after
        state.msr_delta |= changed >> 4 & 0x0B
        if before & ~after & _MSR_RI:
            state.msr_delta |= 0x04  # trailing edge of ring indicator
        self._update_line()

    def _modem_lines(self) -> int:
        """Upper half of MSR: fixed levels, or in loopback the MCR outputs fed back (8.6.7)."""
        mcr = self.state.mcr
        if not mcr & _MCR_LOOPBACK:
            return _MSR_CONNECTED
        lines = _MSR_CTS if mcr & _MCR_RTS else 0
        lines |= _MSR_DSR if mcr & _MCR_DTR else 0
        lines |= _MSR_RI if mcr & _MCR_OUT1 else 0
        return lines | (_MSR_DCD if mcr & _MCR_OUT2 else 0)

    def _read_msr(self) -> int:
        value = self._modem_lines() | self.state.msr_delta
        self.state.msr_delta = 0
        self._update_line()
        return value

    def _read_lsr(self) -> int:
        state = self.state
        value = _LSR_THR_EMPTY | _LSR_TRANSMITTER_EMPTY
        if state.input:
            value |= _LSR_DATA_READY
        if state.overrun:
            value |= _LSR_OVERRUN
            state.overrun = False
        return value

    def _read_iir(self) -> int:
        cause = self._cause()
        if cause == _IIR_TRANSMIT:
            self.state.transmit_pending = False
            self._update_line()
        return cause | (_IIR_FIFO_ENABLED if self.state.fcr & _FCR_ENABLE else 0)

    def _visible_bytes(self) -> int:
        return min(len(self.state.input), FIFO_BYTES if self.state.fcr & _FCR_ENABLE else 1)

    def _cause(self) -> int:
        """The pending interrupt of highest priority as IIR shows it.

        Bytes below the FIFO's trigger level raise the character time-out at once: our line has no pauses.
        """
        state = self.state
        if state.ier & _IER_RECEIVE and state.input:
            trigger = _TRIGGER_LEVELS[state.fcr >> 6] if state.fcr & _FCR_ENABLE else 1
            return _IIR_RECEIVE if len(state.input) >= trigger else _IIR_TIMEOUT
        if state.ier & _IER_TRANSMIT and state.transmit_pending:
            return _IIR_TRANSMIT
        if state.ier & _IER_MODEM and state.msr_delta:
            return _IIR_MODEM
        return _IIR_NONE

    def _update_line(self) -> None:
        self._line(0 if self._cause() == _IIR_NONE else 1)
