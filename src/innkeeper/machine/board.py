# SPDX-License-Identifier: Apache-2.0
"""The board with its devices: what `spec.board` lists, built and wired."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from innkeeper.devices.clint import Clint
from innkeeper.devices.plic import Plic
from innkeeper.devices.ports import MmioDevice
from innkeeper.devices.rtc import GoldfishRtc
from innkeeper.devices.syscon import PowerRequest, Syscon
from innkeeper.devices.uart import Uart
from innkeeper.devices.virtio.block import DiskBackend, VirtioBlock
from innkeeper.devices.virtio.console import VirtioConsole
from innkeeper.devices.virtio.console_port import PortConfig
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.entropy import VirtioEntropy
from innkeeper.devices.virtio.net import NetBackend, VirtioNet
from innkeeper.devices.virtio.transport import MmioTransport
from innkeeper.errors import ConfigError
from innkeeper.host.memory import GuestMemory
from innkeeper.machine.bus import Bus
from innkeeper.machine.clock import Clock
from innkeeper.machine.io_loop import IoLoop
from innkeeper.spec import board
from innkeeper.spec.riscv import MIP_MEIP, MIP_MSIP, MIP_SEIP

_VIRTIO_MAGIC = 0x74726976
_VIRTIO_VERSION = 2


@dataclass(frozen=True)
class NetCard:
    """A network device. `connect(loop)` makes the other end of its cable; `mac` is its address (6 bytes)."""

    connect: Callable[[IoLoop], NetBackend]
    mac: bytes
    mtu_bytes: int = 1500


@dataclass
class Peripherals:
    """What is plugged into the board. Disks come first, in order: the first is /dev/vda.

    `uart_output` gets what the guest sends on its serial line, `read_entropy(n)` gives n random bytes.
    `disk_failed(number, message)` hears of each request that the host could not carry out on a disk; the
    guest sees an I/O error. Machine lock held.
    """

    read_entropy: Callable[[int], bytes]
    uart_output: Callable[[bytes], None]
    disks: Sequence[DiskBackend] = ()
    disk_failed: Callable[[int, str], None] = lambda number, message: None
    net_cards: Sequence[NetCard] = ()
    console_ports: Sequence[PortConfig] = field(
        default_factory=lambda: (PortConfig("innkeeper.console", True),)
    )


class BoardSurroundings(Protocol):
    """What the board asks of the machine. All but `defer` and `alarm_changed` may change a hart."""

    def set_line(self, hart: int, mip_bit: int, level: int) -> None:
        """Drive an interrupt line of a hart."""

    def set_mtimecmp(self, hart: int, ticks: int) -> None:
        """Set a hart's machine timer."""

    def get_mtimecmp(self, hart: int) -> int:
        """A hart's machine timer."""

    def time_ticks(self) -> int:
        """The present time."""

    def power_request(self, request: PowerRequest, code: int) -> None:
        """The guest asks for power-off or reset."""

    def defer(self, work: Callable[[], None]) -> None:
        """Run `work` soon, with the lock held, outside of the hart's access."""

    def alarm_changed(self) -> None:
        """The clock's alarm may be due at another time."""

    @property
    def io(self) -> IoLoop:
        """Where network backends wait."""


class Board:
    """The devices and the bus on which they answer. All of it is used with the machine's lock held."""

    def __init__(
        self,
        memory: GuestMemory,
        peripherals: Peripherals,
        clock: Clock,
        around: BoardSurroundings,
        *,
        hart_count: int,
    ) -> None:
        self.bus = Bus()
        self._around = around

        def set_context(context: int, level: int) -> None:
            around.set_line(context >> 1, MIP_SEIP if context & 1 else MIP_MEIP, level)

        self.plic = Plic(set_context, hart_count=hart_count, source_count=board.PLIC_SOURCES)
        self.clint = Clint(
            hart_count=hart_count,
            set_msip=lambda hart, level: around.set_line(hart, MIP_MSIP, level),
            set_mtimecmp=around.set_mtimecmp,
            get_mtimecmp=around.get_mtimecmp,
            time_ticks=around.time_ticks,
        )
        self.uart = Uart(self.plic.line(board.UART.irq), peripherals.uart_output)
        self.rtc = GoldfishRtc(self.plic.line(board.RTC.irq), clock)
        self.syscon = Syscon(around.power_request)
        self.console = VirtioConsole(memory, peripherals.console_ports)
        self.transports = self._plug(memory, peripherals)
        self._devices: list[MmioDevice] = [
            *self.transports, self.uart, self.rtc, self.syscon, self.clint, self.plic,
        ]  # fmt: skip
        self._attach()

    def _plug(self, memory: GuestMemory, peripherals: Peripherals) -> list[MmioTransport]:
        """Virtio devices into consecutive slots: the guest names disks in the order of the slots."""
        devices: list[VirtioDevice] = [
            VirtioBlock(
                memory,
                disk,
                serial=f"innkeeper-{number}",
                on_error=functools.partial(peripherals.disk_failed, number),
            )
            for number, disk in enumerate(peripherals.disks)
        ]
        io = self._around.io
        devices.append(self.console)
        devices.append(VirtioEntropy(memory, peripherals.read_entropy))
        devices += [
            VirtioNet(memory, card.connect(io), mac=card.mac, mtu_bytes=card.mtu_bytes, io=io)
            for card in peripherals.net_cards
        ]
        if len(devices) > len(board.VIRTIO):
            spare = len(board.VIRTIO) - len(devices) + len(peripherals.disks)
            raise ConfigError(
                f"{len(peripherals.disks)} disks are too many", f"this machine has room for {spare}"
            )
        return [
            MmioTransport(device, self.plic.line(region.irq), defer=self._around.defer)
            for device, region in zip(devices, board.VIRTIO, strict=False)
        ]

    def _attach(self) -> None:
        bus = self.bus
        bus.attach(board.UART, self.uart)
        bus.attach(board.PLIC, self.plic)
        bus.attach(board.CLINT, self.clint)
        bus.attach(board.TEST, self.syscon)
        bus.attach(board.RTC, _AlarmWatch(self.rtc, self._around.alarm_changed))
        for slot, region in enumerate(board.VIRTIO):
            bus.attach(region, self.transports[slot] if slot < len(self.transports) else _EmptySlot())

    def reset(self) -> None:
        """Power-on state of every device."""
        for device in self._devices:
            device.reset()


class _EmptySlot:
    """A virtio-mmio slot without a device. Spec: virtio-1.3 4.2.2.1, DeviceID 0."""

    def read(self, offset: int, size_bytes: int) -> int:
        return {0: _VIRTIO_MAGIC, 4: _VIRTIO_VERSION}.get(offset, 0) if size_bytes == 4 else 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Ignored."""


class _AlarmWatch:
    """The clock, telling the machine when the guest may have changed the alarm."""

    def __init__(self, rtc: GoldfishRtc, changed: Callable[[], None]) -> None:
        self.read = rtc.read
        self._rtc = rtc
        self._changed = changed

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self._rtc.write(offset, size_bytes, value)
        self._changed()
