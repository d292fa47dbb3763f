# SPDX-License-Identifier: Apache-2.0
"""A guest that runs one command through its agent: what it is made of, and how the command's streams flow.

In contrast to `session.Session` the command is not known when the guest boots. So its boot can be kept as a
snapshot, and the guest can go on from one.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass

from innkeeper.api.vmm_protocol import ExecParameters
from innkeeper.devices.virtio.block import DiskBackend
from innkeeper.devices.virtio.console_port import PortConfig
from innkeeper.devices.virtio.net_frame import NetBackend
from innkeeper.errors import GuestError, InnkeeperError
from innkeeper.guest_agent import protocol as say
from innkeeper.host.clock import HostClock
from innkeeper.machine.board import NetCard, Peripherals
from innkeeper.machine.io_loop import IoLoop
from innkeeper.machine.machine import Ending, EngineFactory, MachineConfig, Outcome, VirtMachine
from innkeeper.vmm.agent import GuestAgent
from innkeeper.vmm.agent_session import AgentSession
from innkeeper.vmm.agent_wire import FileStatus, Identity
from innkeeper.vmm.console import END_OF_PANIC
from innkeeper.vmm.network import GuestNetwork
from innkeeper.vmm.plugs import NetPlug
from innkeeper.vmm.refusal_notice import RefusalNotice
from innkeeper.vmm.streams import InputStream, OutputStream, Sink

CONSOLE, AGENT, CONTROL = range(3)
PORTS = (
    PortConfig("innkeeper.console", is_console=True),
    PortConfig(say.PORT_NAME),
    # The guest's init takes it for the last one.
    PortConfig("innkeeper.control"),
)
HOST_NAME = "innkeeper"
FIRST_FRAMES_WAIT_NS = 60_000_000
_LOG_BYTES = 16384


@dataclass(frozen=True)
class Command:
    """What to run, where its output goes, and what it reads (see `Machine.run`)."""

    parameters: ExecParameters
    stdin: int | bytes | None
    stdout: Sink | bytearray
    stderr: Sink | bytearray


@dataclass(frozen=True)
class GuestParts:
    """What the machine is made of. `root` is the disk of the image, already open."""

    machine: MachineConfig
    make_engine: EngineFactory
    network: GuestNetwork
    mac_address: bytes | None
    root: DiskBackend | None
    on_warning: Callable[[str], None]


class CommandGuest:
    """Make it; perhaps put a snapshot into `machine` and call `resumed`; `run`; `close`.

    `on_ready` is called once the guest's agent answers, machine lock held, and starts the command by
    `start_command`, then or later. `status` is the command's, `error` why there is none.
    """

    def __init__(self, parts: GuestParts, command: Command) -> None:
        self._parts = parts
        self._command = command
        self._log = bytearray()
        self._plugs: list[NetPlug] = []
        self._is_copy = False
        self._was_ready = False
        self._outputs: dict[int, OutputStream] = {}
        self._input: InputStream | None = None
        self._session: AgentSession | None = None
        self.sink_errors: list[BaseException] = []
        self.status: int | None = None
        self.error: InnkeeperError | None = None
        self.timed_out = False
        self.on_ready: Callable[[], None] = self.start_command
        self.clock = HostClock()
        parts.network.on_warning = parts.on_warning
        parts.network.on_refused = RefusalNotice(parts.on_warning)
        self.machine = VirtMachine(
            parts.machine,
            parts.make_engine,
            Peripherals(
                read_entropy=os.urandom,
                uart_output=self._printed,
                disks=() if parts.root is None else (parts.root,),
                disk_failed=lambda number, message: parts.on_warning(message),
                net_cards=self._cards(),
                console_ports=PORTS,
            ),
            self.clock,
        )
        try:
            parts.network.open_ports()
        except BaseException:
            self.close()
            raise
        console = self.machine.board.console
        console.port(CONSOLE).on_output = self._printed
        console.port(CONTROL).set_open(True)
        self.agent = GuestAgent(console.port(AGENT), self._identity, self._agent_ready, parts.on_warning)

    # Before and after it runs.

    def resumed(self) -> None:
        """A snapshot was put in place: the guest takes itself for another one until its agent tells it."""
        self._is_copy = True
        with self.machine.lock:
            if self.machine.board.console.port(AGENT).is_guest_open:
                self.agent.begin()

    @property
    def has_begun(self) -> bool:
        """Whether the command may have done anything."""
        return self._session is not None

    def run(self, timeout_s: float | None) -> Outcome:
        """Run to the end; when this returns, the sinks have all output."""
        machine = self.machine
        if timeout_s is not None:
            machine.io.call_at(self.clock.now_ns() + int(timeout_s * 1e9), self._time_is_up)
        outcome = machine.run()
        with machine.lock:
            if self._input is not None:
                self._input.stop()
            self.agent.close(GuestError(f"the guest ended ({outcome.ending.value}) before its command did"))
        for output in self._outputs.values():
            output.finish(1.0 if self.timed_out else None)
        return outcome

    def close(self) -> None:
        """Free the machine; the network first. A sink that still blocks is left to its thread."""
        for output in self._outputs.values():
            output.finish(0)
        with self.machine.lock:
            self._parts.network.close()
        self.machine.close()

    def last_output(self) -> str:
        """What the consoles printed last."""
        return bytes(self._log[-_LOG_BYTES:]).decode("utf-8", "replace")

    # Machine lock held from here on.

    def start_command(self) -> None:
        """Start the command, once the agent is ready."""
        command = self._command
        for kind, sink in ((say.STDOUT, command.stdout), (say.STDERR, command.stderr)):
            if not isinstance(sink, bytearray):
                passing = functools.partial(self._pass_on, sink)
                self._outputs[kind] = OutputStream(passing, self.machine.lock, self._sink_failed)
        try:
            self._session = session = self.agent.start_command(command.parameters, self)
        except InnkeeperError as error:
            self.on_end(error)
            return
        if command.stdin is None or command.stdin == b"":
            session.end_input()
            return
        self._input = InputStream(command.stdin, session.write, self.machine.io, session.end_input)
        self._input.start()

    def on_output(self, kind: int, data: bytes) -> None:
        """See `SessionListener`, as for the three below."""
        if kind in self._outputs:
            self._outputs[kind].push(data)
            return
        collected = self._command.stdout if kind == say.STDOUT else self._command.stderr
        if isinstance(collected, bytearray):
            collected += data
        if self._session is not None:
            self._session.taken(len(data))

    def on_file(self, status: FileStatus) -> None:
        """No file was asked for."""

    def on_space(self) -> None:
        """The command's input takes bytes again."""
        if self._input is not None:
            self._input.resume()

    def on_end(self, result: int | InnkeeperError) -> None:
        """The command has ended, and all its output was handed over."""
        if isinstance(result, InnkeeperError):
            self.error = result
        else:
            self.status = result
        if self._input is not None:
            self._input.stop()
        # No disk of the user's is in it: nothing would be left unclean.
        self.machine.defer(lambda: self.machine.end(Outcome(Ending.POWER_OFF)))

    def _pass_on(self, sink: Sink, data: bytes) -> None:
        """On the thread of a stream, without the lock."""
        sink(data)
        with self.machine.lock:
            if self._session is not None:
                self._session.taken(len(data))

    def _sink_failed(self, error: BaseException) -> None:
        self.sink_errors.append(error)
        self.machine.stop("nobody takes the output")

    def _time_is_up(self) -> None:
        self.timed_out = True
        self.machine.stop("the time is up")

    def _agent_ready(self, is_ready: bool) -> None:
        if is_ready and not self._was_ready:
            self._was_ready = True
            self.on_ready()

    def _identity(self) -> Identity:
        digits = os.urandom(16).hex()
        # Form of a random UUID. Spec: RFC 9562 5.4 "UUID Version 4"; machine-id(5)
        machine_id = f"{digits[:12]}4{digits[13:16]}a{digits[17:]}"
        generation = os.urandom(16).hex()
        if not self._is_copy:
            return Identity(HOST_NAME, machine_id, generation)
        return Identity(HOST_NAME, machine_id, generation, self._parts.mac_address, self.clock.wall_ns())

    def _printed(self, data: bytes) -> None:
        self._log += data
        if END_OF_PANIC in self._log[-len(data) - len(END_OF_PANIC) :]:
            self.machine.end(Outcome(Ending.CRASHED, "its kernel panicked"))
        if len(self._log) > 2 * _LOG_BYTES:
            del self._log[:-_LOG_BYTES]

    def _cards(self) -> list[NetCard]:
        """The network is made a little after the guest's first frame, unless the host may speak first.

        A guest that goes on from a snapshot announces its new address while its command is being started.
        """
        network = self._parts.network

        def connect(card: NetCard, loop: IoLoop) -> NetBackend:
            def postpone(work: Callable[[], None]) -> None:
                loop.call_at(loop.clock.now_ns() + FIRST_FRAMES_WAIT_NS, work)

            return NetPlug(functools.partial(card.connect, loop), network.is_needed_at_once, postpone)

        return [
            NetCard(functools.partial(connect, card), card.mac, card.mtu_bytes) for card in network.cards()
        ]
