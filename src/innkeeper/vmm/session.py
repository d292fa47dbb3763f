# SPDX-License-Identifier: Apache-2.0
"""One boot of one machine, and what the VMM and the guest say to each other meanwhile.

The guest finds one virtio console with the ports of `PORTS`. On `innkeeper.control` it writes lines: `ready`,
and `exit N` when its command has ended and all output is written. The end of standard input is that the host
closes `innkeeper.stdin`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from innkeeper.devices.virtio.block import DiskBackend
from innkeeper.devices.virtio.console_port import PortConfig
from innkeeper.engines.engine import Engine, GuestRam
from innkeeper.errors import GuestError
from innkeeper.host.clock import HostClock
from innkeeper.machine.board import Peripherals
from innkeeper.machine.machine import Ending, MachineConfig, Outcome, VirtMachine
from innkeeper.vmm.console import END_OF_PANIC
from innkeeper.vmm.control import ControlReader
from innkeeper.vmm.network import GuestNetwork
from innkeeper.vmm.refusal_notice import RefusalNotice
from innkeeper.vmm.streams import InputStream, OutputStream, Sink

CONSOLE, STDIN, STDOUT, STDERR, CONTROL = range(5)
PORTS = (
    PortConfig("innkeeper.console", is_console=True),
    PortConfig("innkeeper.stdin"),
    PortConfig("innkeeper.stdout"),
    PortConfig("innkeeper.stderr"),
    PortConfig("innkeeper.control"),
)
SILENCE_NS = 60_000_000_000
"""After this a command whose guest does not say that it is ready is one to tell the user about."""
SILENCE_WARNING = "the guest has not begun its command after 60 s (Ctrl-C ends it)"
LOG_BYTES = 16384
"""How much of the consoles' output is kept to explain a failure."""


@dataclass(frozen=True)
class SessionConfig:
    """`power_off_at_exit`: stop once the command has ended instead of waiting for the guest's power-off.

    Right only where no disk of the user's could be left unclean. `stop_at_panic`: stop when a console says
    that the kernel has panicked, which stands still then; wrong where a user watches and decides.
    `on_warning` hears what the user should know of while the guest runs on; machine lock held.
    """

    machine: MachineConfig
    make_engine: Callable[[GuestRam], Engine]
    disks: Sequence[DiskBackend] = ()
    network: GuestNetwork | None = None
    power_off_at_exit: bool = False
    stop_at_panic: bool = False
    on_warning: Callable[[str], None] = lambda message: None


@dataclass
class Ended:
    """How a session ended. `status` is the command's, None if the guest never told."""

    outcome: Outcome
    status: int | None
    timed_out: bool
    errors: list[BaseException] = field(default_factory=list)
    log: str = ""


class Session:
    """Builds the machine; connect streams, then `run` it once, then `close`."""

    def __init__(self, config: SessionConfig) -> None:
        self._config = config
        self._log = bytearray()
        self._console_sinks: list[Callable[[bytes], None]] = []
        self._outputs: list[OutputStream] = []
        self._inputs: list[InputStream] = []
        self._errors: list[BaseException] = []
        self._failed_disks: set[int] = set()
        self._timed_out = False
        self._closed = False
        self._control = ControlReader(on_exit=self._command_ended)
        self._network = config.network or GuestNetwork(())
        self._network.on_refused = RefusalNotice(self.warn)
        self._network.on_warning = self.warn
        self.machine = VirtMachine(
            config.machine,
            config.make_engine,
            Peripherals(
                read_entropy=os.urandom,
                uart_output=self._serial_output,
                disks=config.disks,
                disk_failed=self._disk_failed,
                net_cards=self._network.cards(),
                console_ports=PORTS,
            ),
            HostClock(),
        )
        try:
            self._network.open_ports()
        except BaseException:
            self.close()
            raise
        console = self.machine.board.console
        console.port(CONSOLE).on_output = self._console_output
        control = console.port(CONTROL)
        control.on_output = self._control.feed
        for number in (STDOUT, STDERR, CONTROL):
            console.port(number).set_open(True)

    @property
    def is_ready(self) -> bool:
        """Whether the guest has said that its userland runs."""
        return self._control.is_ready

    # Connecting, before `run`.

    def on_ready(self, call: Callable[[], None]) -> None:
        """Call `call` when the guest says that its userland runs; machine lock held."""
        self._control.on_ready = call

    def connect_output(self, number: int, sink: Sink) -> None:
        """Pass what the guest writes to port `number` on to `sink`, which may block."""
        port = self.machine.board.console.port(number)
        stream = OutputStream(sink, self.machine.lock, self._stream_failed, port)
        port.on_output = stream.push
        self._outputs.append(stream)

    def collect_output(self, number: int, result: bytearray) -> None:
        """Append what the guest writes to port `number` to `result`."""
        self.machine.board.console.port(number).on_output = result.extend

    def connect_console(self, sink: Sink) -> None:
        """Pass the output of all the guest's consoles on to `sink`."""
        port = self.machine.board.console.port(CONSOLE)
        stream = OutputStream(sink, self.machine.lock, self._stream_failed, port)

        def port_output(data: bytes) -> None:
            self._console_output(data)
            stream.push(data)

        port.on_output = port_output
        self._console_sinks.append(stream.push_lossy)
        self._outputs.append(stream)

    def connect_stdin(self, source: int | bytes | None) -> None:
        """Feed `innkeeper.stdin`; None is an input that is at its end."""
        port = self.machine.board.console.port(STDIN)
        if source is None or source == b"":
            return  # never opened: the guest reads the end at once
        port.set_open(True)
        # Nothing is read before somebody wants it, and the end is only told to somebody who is there.
        stream = InputStream(source, port.receive, self.machine.io, lambda: port.set_open(False))

        def opened(is_open: bool) -> None:
            if is_open:
                stream.start()

        port.on_open = opened
        port.on_space = stream.resume
        self._inputs.append(stream)

    def add_input(self, stream: InputStream) -> None:
        """Stop this stream when the machine has ended."""
        self._inputs.append(stream)

    def warn(self, message: str) -> None:
        """Let the user know; machine lock held."""
        self._config.on_warning(message)

    def warn_of_silence(self) -> None:
        """Warn if the guest has not begun its command after a while."""
        machine = self.machine

        def look() -> None:
            if not self.is_ready:
                self.warn(SILENCE_WARNING)

        machine.io.call_at(machine.clock.now_ns() + SILENCE_NS, look)

    # Running.

    def run(self, timeout_s: float | None = None) -> Ended:
        """Run the machine to its end, or stop it after `timeout_s`; wait until the sinks have everything."""
        machine = self.machine
        if timeout_s is not None:
            machine.io.call_at(machine.clock.now_ns() + int(timeout_s * 1e9), self._time_is_up)
        outcome = machine.run()
        with machine.lock:
            for stream in self._inputs:
                stream.stop()
            for output in self._outputs:
                output.drain()
        for output in self._outputs:
            output.finish(1.0 if self._timed_out else None)
        log = bytes(self._log).decode("utf-8", "replace")
        return Ended(outcome, self._control.status, self._timed_out, self._errors, log)

    def close(self) -> None:
        """Free the machine. A sink that still blocks is left to its thread."""
        if self._closed:
            return
        self._closed = True
        for output in self._outputs:
            output.finish(0)
        with self.machine.lock:
            self._network.close()
        self.machine.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What happens meanwhile; machine lock held, except in `_stream_failed`.

    def _console_output(self, data: bytes) -> None:
        self._log += data
        if len(self._log) > 2 * LOG_BYTES:
            del self._log[:-LOG_BYTES]
        if self._config.stop_at_panic and END_OF_PANIC in self._log[-len(data) - len(END_OF_PANIC) :]:
            self.machine.end(Outcome(Ending.CRASHED, "its kernel panicked"))

    def _disk_failed(self, number: int, message: str) -> None:
        """Told once for each disk: what cannot be written once is often tried a thousand times."""
        if number not in self._failed_disks:
            self._failed_disks.add(number)
            self.warn(message)

    def _serial_output(self, data: bytes) -> None:
        self._console_output(data)
        for sink in self._console_sinks:
            sink(data)

    def _command_ended(self, status: int) -> None:
        for output in self._outputs:
            output.drain()
        if self._config.power_off_at_exit:
            # Behind the work that devices have deferred: output may be in it.
            self.machine.defer(lambda: self.machine.end(Outcome(Ending.POWER_OFF)))

    def _time_is_up(self) -> None:
        self._timed_out = True
        self.machine.stop("the time is up")

    def _stream_failed(self, error: BaseException) -> None:
        self._errors.append(error)
        self.machine.stop("nobody takes the output")


def require_power_off(ended: Ended) -> None:
    """GuestError if the guest crashed, with its last words; errors of the sinks are raised as they are."""
    for error in ended.errors:
        raise error
    if ended.outcome.ending is Ending.CRASHED:
        raise GuestError(f"the guest was stopped: {ended.outcome.reason}", last_words(ended.log))


def require_status(ended: Ended) -> int:
    """The command's status; GuestError if the guest ended without telling one."""
    require_power_off(ended)
    if ended.status is None:
        raise GuestError(
            f"the guest ended ({ended.outcome.ending.value}) before its command did", last_words(ended.log)
        )
    return ended.status


def last_words(log: str) -> str:
    """The last line of the console that says something, to be shown to the user."""
    lines = ["".join(c for c in line if c.isprintable()).strip() for line in log.splitlines()]
    said = [line for line in lines if line]
    with contextlib.suppress(StopIteration):
        # A panic's reason stands above its register dump.
        said.append(next(line for line in said if "Kernel panic" in line))
    return f"its console's last line: {said[-1][-200:]}" if said else "its console said nothing"
