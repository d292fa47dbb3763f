# SPDX-License-Identifier: Apache-2.0
"""All state of a machine but its RAM, as plain data: one walk over the dataclasses of harts and devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from innkeeper.devices.clint import ClintState
from innkeeper.devices.plic import PlicState
from innkeeper.devices.rtc import RtcState
from innkeeper.devices.saved import from_plain, require, to_plain
from innkeeper.devices.uart import UartState
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.saved import restore_transport
from innkeeper.devices.virtio.transport import TransportState
from innkeeper.errors import ConfigError
from innkeeper.machine.firmware_console import FirmwareConsoleState
from innkeeper.machine.hart import MASK_64
from innkeeper.machine.hart_record import HartRecord, put, record
from innkeeper.spec.sbi import HartState
from innkeeper.spec.virtio import DEVICE_BLOCK

if TYPE_CHECKING:
    from innkeeper.machine.machine import VirtMachine


@dataclass
class Shape:
    """What a machine has to have alike to go on from another's state.

    `devices` are virtio device types by slot, `disk_sectors` in the order of the disks.
    """

    hart_count: int
    memory_bytes: int
    instructions_per_tick: int
    has_firmware: bool
    devices: list[int]
    disk_sectors: list[int]
    console_ports: list[str]


@dataclass
class MachineRecord:
    """`time` is the machine's, in ticks; virtio devices are in `Record.slots`, each by its own dataclass."""

    time: int
    harts: list[HartRecord]
    plic: PlicState
    clint: ClintState
    uart: UartState
    rtc: RtcState
    firmware_console: FirmwareConsoleState


def shape_of(machine: VirtMachine) -> Shape:
    """The shape of this machine."""
    config = machine.config
    devices = [transport.device for transport in machine.board.transports]
    disks = [device for device in devices if device.device_type == DEVICE_BLOCK]
    return Shape(
        config.hart_count,
        config.memory_bytes,
        config.instructions_per_tick,
        config.boot.firmware is not None,
        [device.device_type for device in devices],
        [int.from_bytes(disk.config[:8], "little") for disk in disks],
        machine.board.console.port_names,
    )


def capture(machine: VirtMachine) -> dict[str, Any]:
    """The state of a machine at rest, for `json`."""
    board = machine.board
    whole = MachineRecord(
        machine.time_ticks(),
        [record(hart) for hart in machine.harts],
        board.plic.state,
        board.clint.state,
        board.uart.state,
        board.rtc.state,
        machine.firmware_console.state,
    )
    slots = [
        {"transport": to_plain(transport.state), "device": to_plain(transport.device.state)}
        for transport in board.transports
    ]
    return {"shape": to_plain(shape_of(machine)), "machine": to_plain(whole), "slots": slots}


def saved_shape(data: dict[str, Any]) -> Shape:
    """The shape that `capture` wrote down; ConfigError if it is damaged."""
    return from_plain(Shape, data.get("shape"), "shape")


def apply(machine: VirtMachine, data: dict[str, Any]) -> None:
    """Put what `capture` gave into a machine that was just made and whose RAM is in place.

    ConfigError if this is another machine, or the state cannot be; the machine is of no use then.
    """
    _require_shape(saved_shape(data), shape_of(machine))
    saved = from_plain(MachineRecord, data.get("machine"), "machine")
    require(0 <= saved.time <= MASK_64 and len(saved.harts) == len(machine.harts), "the machine's harts")
    machine.set_time_ticks(saved.time)
    for hart, hart_record in zip(machine.harts, saved.harts, strict=True):
        put(hart, hart_record)
    board = machine.board
    board.plic.restore(saved.plic)
    board.clint.restore(saved.clint)
    board.uart.restore(saved.uart)
    board.rtc.restore(saved.rtc)
    machine.firmware_console.restore(saved.firmware_console)
    _restore_slots(machine, data.get("slots"))
    machine.alarm_changed()


def _restore_slots(machine: VirtMachine, slots: Any) -> None:
    transports = machine.board.transports
    require(isinstance(slots, list) and len(slots) == len(transports), "the number of devices")
    for number, (transport, slot) in enumerate(zip(transports, slots, strict=True)):
        where = f"device {number}"
        require(isinstance(slot, dict) and slot.keys() == {"transport", "device"}, where)
        registers = from_plain(TransportState, slot["transport"], where)
        state = from_plain(type(transport.device.state), slot["device"], where)
        restore_transport(transport, registers, state, where)
    for transport in transports:
        transport.device.restored()
        _serve_waiting(machine, transport.device)


def _serve_waiting(machine: VirtMachine, device: VirtioDevice) -> None:
    """Buffers that waited for the host's end when the state was saved: nobody will tell of them again."""
    for index, queue in enumerate(device.queues):
        if device.live and queue.has_work():
            machine.defer(lambda index=index: device.notify(index))  # type: ignore[misc]


def _require_shape(saved: Shape, here: Shape) -> None:
    if saved == here:
        return
    different = [
        f"{name.replace('_', ' ')} {value} (here {getattr(here, name)})"
        for name, value in cast(dict[str, Any], to_plain(saved)).items()
        if value != getattr(here, name)
    ]
    raise ConfigError(
        f"the snapshot is of another machine: {', '.join(different)}", "give the VM what it had then"
    )


def has_started(machine: VirtMachine) -> bool:
    """Whether any hart runs or is about to: there is something to save."""
    return any(hart.state != HartState.STOPPED for hart in machine.harts)
