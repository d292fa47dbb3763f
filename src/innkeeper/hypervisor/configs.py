# SPDX-License-Identifier: Apache-2.0
"""From what the store keeps of a VM to what its VMM is told, and what makes a VM one of its kind."""

from __future__ import annotations

import hashlib
import secrets

from innkeeper.api.places import Places
from innkeeper.api.vmm_protocol import VmDisk, VmmConfig
from innkeeper.hypervisor.folders import DISKS
from innkeeper.hypervisor.records import VmRecord

CONSOLE_LOG = "console.log"
ROOT_OVERLAY = "root.overlay"


def vmm_config(places: Places, record: VmRecord) -> VmmConfig:
    """The configuration that the VMM of `record` is started with."""
    settings = record.settings
    folder = places.vm(record.id)
    network = settings.network
    restore_from = None if record.restore_from is None else str(places.snapshot(record.restore_from))
    return VmmConfig(
        id=record.id,
        name=record.name,
        control_socket=str(places.control_socket(record.id)),
        console_log=str(folder / CONSOLE_LOG),
        generation=record.generation,
        image=settings.image or "",
        kernel=settings.kernel,
        initrd=settings.initrd,
        append=settings.append,
        firmware=settings.firmware,
        hostname=record.name,
        cpus=settings.cpus,
        memory_bytes=settings.memory_bytes,
        root_overlay=str(folder / DISKS / ROOT_OVERLAY),
        disks=tuple(VmDisk(disk.path, disk.read_only) for disk in settings.disks),
        mac_addresses=tuple(mac_addresses(record)),
        networks=tuple(network.adapters),
        ports=tuple(network.ports),
        egress=network.egress,
        allow=tuple(network.allow),
        deny=tuple(network.deny),
        engine=settings.engine,
        restore_from=restore_from,
    )


def new_id() -> str:
    """12 hexadecimal digits, at random."""
    return secrets.token_hex(6)


def new_generation() -> str:
    """A VM generation id: 128 random bits."""
    return secrets.token_hex(16)


def new_mac_address() -> str:
    """A random unicast address of those that anybody may give.

    Spec: IEEE 802-2014 8.2.2 "Universally or locally administered bit"
    """
    return _local_address(secrets.token_bytes(6))


def mac_addresses(record: VmRecord) -> list[str]:
    """Of each adapter; those after the first follow from the VM's id, which no other VM has."""
    addresses = [record.mac_address]
    for number in range(1, len(record.settings.network.adapters)):
        digest = hashlib.sha256(f"adapter {number} of {record.id}".encode()).digest()
        addresses.append(_local_address(digest[:6]))
    return addresses[: len(record.settings.network.adapters)]


def _local_address(octets: bytes) -> str:
    first, *rest = octets
    return ":".join(f"{octet:02x}" for octet in ((first & 0xFC) | 2, *rest))
