# SPDX-License-Identifier: Apache-2.0
"""The VM of a VMM process: its machine with all that is plugged in, its agent, its console, and its state."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innkeeper.api.vmm_protocol import VmmConfig, VmState, VmStatus
from innkeeper.devices.virtio.console_port import PortConfig
from innkeeper.errors import ConfigError, GuestError
from innkeeper.guest_agent import protocol as say
from innkeeper.host.clock import HostClock
from innkeeper.host.processes import process_start_ticks
from innkeeper.machine.board import Peripherals
from innkeeper.machine.boot import BootConfig
from innkeeper.machine.machine import Ending, MachineConfig, Outcome, VirtMachine
from innkeeper.vmm.agent import GuestAgent
from innkeeper.vmm.agent_wire import Identity
from innkeeper.vmm.console import END_OF_PANIC, ConsoleInput
from innkeeper.vmm.console_hub import ConsoleHub, ConsoleLog
from innkeeper.vmm.engine_choice import choose_engine
from innkeeper.vmm.guest_disks import GuestDisks
from innkeeper.vmm.guest_network import GuestCards
from innkeeper.vmm.readdress import Readdressing

if TYPE_CHECKING:
    from innkeeper.network.refusals import Refusal

CONSOLE, AGENT, CONTROL = range(3)
PORTS = (
    PortConfig("innkeeper.console", is_console=True),
    PortConfig(say.PORT_NAME),
    # The guest's init takes it for the last one.
    PortConfig("innkeeper.control"),
)
REFUSALS_TOLD_MAX = 10_000
Event = dict[str, Any]


class Guest:
    """Made from a configuration; `machine.run()` boots it. All but `__init__` needs the machine's lock.

    `on_event` hears `{"event": "ready"}` and the like. Raises ConfigError for what cannot be booted.
    """

    def __init__(self, config: VmmConfig, on_event: Callable[[Event], None]) -> None:
        self.config = config
        self.on_event = on_event
        self.clock = HostClock()
        self.started_ns = self.clock.now_ns()
        self._stopping = False
        self._is_copy = config.restore_from is not None
        """Its guest takes itself for another one until the agent tells it."""
        self._paused = False
        self._has_addresses = True
        """Unless it is a copy that is being given its own."""
        self._refusals_told = 0
        self.ended = ""
        """Why it ended, once it has."""
        self._panic_tail = b""
        self.network = GuestCards(config, self._refused)
        boot, root_disk = self._boot_files()
        self.disks = GuestDisks(config, root_disk)
        try:
            self.machine = self._build(boot)
            self.network.open_ports()
        except BaseException:
            self.disks.close()
            self.network.close()
            raise
        machine, console = self.machine, self.machine.board.console
        port = console.port(CONSOLE)
        keyboard = ConsoleInput(port, machine.firmware_console, machine.board.uart, interactive=False)
        keyboard.release()
        self.console = ConsoleHub(keyboard.receive, ConsoleLog(Path(config.console_log)))
        keyboard.on_space(self.console.space)
        port.on_output = self._printed
        console.port(CONTROL).set_open(True)
        self.agent = GuestAgent(console.port(AGENT), self.identity, self._agent_ready, self.warn)

    def restore(self) -> None:
        """Put the snapshot of the configuration in place, if there is one: the guest goes on from there.

        Before the machine runs. Raises ConfigError for a snapshot that is damaged or does not fit.
        """
        if self.config.restore_from is not None:
            from innkeeper.machine.snapshot import load

            load(self.machine, Path(self.config.restore_from))

    def become(self, config: VmmConfig) -> None:
        """In a forked child: be another VM, which knows nothing of who used this one."""
        self.config = config
        self._is_copy = True
        self._paused = self._stopping = False
        self.started_ns = self.clock.now_ns()
        self.network.become(config, self.machine.io)
        self.disks.become(config)
        self.console.become(ConsoleLog(Path(config.console_log)))
        self.agent.begin()

    def close(self) -> None:
        """Free the machine and flush the disks. Nothing may run any more; without the lock."""
        with self.machine.lock:
            self.network.close()
        self.machine.close()
        self.disks.close()

    # How it is.

    def identity(self) -> Identity:
        """Who the guest is, as its agent is told at each start."""
        config = self.config
        digest = hashlib.sha256(b"machine-id " + config.generation.encode()).hexdigest()
        # Form of a random UUID. Spec: RFC 9562 5.4 "UUID Version 4"; machine-id(5)
        machine_id = f"{digest[:12]}4{digest[13:16]}{'89ab'[int(digest[16], 16) & 3]}{digest[17:32]}"
        name = _host_name(config.hostname or config.name)
        if not self._is_copy:
            return Identity(name, machine_id, config.generation)
        address = bytes.fromhex(config.mac_addresses[0].replace(":", "")) if config.mac_addresses else None
        return Identity(name, machine_id, config.generation, address, self.clock.wall_ns())

    @property
    def state(self) -> VmState:
        """What it does now."""
        if self.ended:
            return "ended"
        if self._stopping:
            return "stopping"
        if self._paused:
            return "paused"
        return "running" if self.agent.is_ready or not self.config.image else "booting"

    def status(self) -> VmStatus:
        """All that clients are told."""
        pid = os.getpid()
        return VmStatus(
            id=self.config.id,
            state=self.state,
            ready=self.agent.is_ready and self._has_addresses and not self.ended,
            pid=pid,
            process_start_ticks=process_start_ticks(pid) or 0,
            generation=self.config.generation,
            started_ns=self.started_ns,
            now_ns=self.clock.now_ns(),
            cpus=self.config.cpus,
            memory_bytes=self.config.memory_bytes,
            instructions=sum(hart.retired() for hart in self.machine.harts),
            resident_bytes=_resident_bytes(),
            agent_version=self.agent.version,
            reason=self.ended,
        )

    def warn(self, message: str) -> None:
        """Let everybody know of something that is wrong while the guest runs on."""
        self.on_event({"event": "warning", "message": message})

    # What is done with it.

    def power_off(self) -> None:
        """Ask the guest for a clean end. GuestError if its agent does not answer."""
        if self._stopping:
            return
        self.agent.power_off(lambda answer: None)
        self._stopping = True
        self.on_event({"event": "stopping"})

    def force_off(self, reason: str) -> None:
        """End it at once."""
        self.machine.stop(reason)

    def reboot(self) -> None:
        """Ask the guest to start again. GuestError if its agent does not answer."""
        self.agent.reboot(lambda answer: None)

    def set_paused(self, paused: bool) -> None:
        """It stands still, or does so no longer."""
        if self._paused != paused:
            self._paused = paused
            self.on_event({"event": "paused" if paused else "running"})

    def has_ended(self, outcome: Outcome) -> None:
        """The machine has come to its end."""
        self.ended = outcome.reason or outcome.ending.value
        self.agent.close(GuestError("the VM has ended", "start it again"))
        self.on_event({"event": "ended", "ending": outcome.ending.value, "reason": outcome.reason})

    def resize_console(self, columns: int, rows: int) -> None:
        """The terminal of a client has this size."""
        self.machine.board.console.resize(columns, rows)

    # Inside.

    def _build(self, boot: BootConfig) -> VirtMachine:
        config = self.config
        return VirtMachine(
            MachineConfig(boot, config.cpus, config.memory_bytes),
            choose_engine(config.engine),
            Peripherals(
                read_entropy=os.urandom,
                uart_output=self._printed,
                disks=self.disks.backends,
                disk_failed=lambda number, message: self.warn(message),
                net_cards=self.network.cards(),
                console_ports=PORTS,
            ),
            self.clock,
        )

    def _boot_files(self) -> tuple[BootConfig, Path | None]:
        config = self.config
        firmware = Path(config.firmware) if config.firmware else None
        if not config.image:
            initrd = (Path(config.initrd),) if config.initrd else ()
            kernel = Path(config.kernel) if config.kernel else None
            return BootConfig(kernel, initrd, config.append, firmware), None
        # What a VM with a kernel of its own needs not.
        from innkeeper import images
        from innkeeper.vmm.job import GuestJobRunner

        files = images.ensure(config.image, images.SILENT, GuestJobRunner(config.engine))
        words = self.network.kernel_words()
        append = " ".join(part for part in (files.append, words, config.append) if part)
        return BootConfig(files.kernel, (files.initrd,), append, firmware), files.root_disk

    def _printed(self, data: bytes) -> None:
        tail = self._panic_tail + data
        self._panic_tail = tail[-len(END_OF_PANIC) :]
        self.console.output(data)
        if END_OF_PANIC in tail:
            self.machine.end(Outcome(Ending.CRASHED, "its kernel panicked"))

    def _refused(self, refusal: Refusal) -> None:
        """Into the VMM's log, as far as that may grow by it."""
        if self._refusals_told < REFUSALS_TOLD_MAX:
            self._refusals_told += 1
            where = f"{refusal.names[0] if refusal.names else refusal.address} {refusal.protocol}"
            port = f" port {refusal.port}" if refusal.port else ""
            print(f"the guest may not reach {where}{port}: {refusal.reason}", file=sys.stderr, flush=True)

    def _agent_ready(self, is_ready: bool) -> None:
        addresses = self.network.new_addresses() if is_ready and self._is_copy else []
        self._has_addresses = not addresses
        if addresses:
            Readdressing(self._readdressed).begin(self.agent, addresses)
        elif is_ready:
            self.on_event({"event": "ready"})

    def _readdressed(self, error: str | None) -> None:
        if error is not None:
            self.warn(f"the guest did not take its new network addresses: {error}")
        if self.agent.is_ready:
            self._has_addresses = True
            self.on_event({"event": "ready"})


def _host_name(name: str) -> str:
    """`name` as the kernel and the DNS take it. Spec: RFC 1123 2.1 "Host Names and Numbers" """
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "-" for c in name)[:63].strip("-.")
    return kept or "innkeeper"


def _resident_bytes() -> int:
    """Source: proc_pid_statm(5)"""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def require_no_change(config: VmmConfig, params: dict[str, Any]) -> None:
    """ConfigError if `resize` asks for what only a new start can give."""
    for name, unit in (("cpus", "CPUs"), ("memory_bytes", "memory")):
        wanted = params.get(name)
        if wanted is not None and wanted != getattr(config, name):
            raise ConfigError(
                f"the {unit} of a running VM cannot be changed", "stop it, set the size, and start it again"
            )
