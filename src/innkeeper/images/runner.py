# SPDX-License-Identifier: Apache-2.0
"""What images need of a virtual machine: to run one command in it. The VMM provides it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class GuestDisk:
    """A raw file that the guest has as a virtio block device."""

    path: Path
    read_only: bool


@dataclass(frozen=True)
class GuestJob:
    """One boot. `initrd` already holds a command (see `command_archive`); disks appear as /dev/vda, /dev/vdb."""

    kernel: Path
    initrd: bytes
    append: str
    disks: tuple[GuestDisk, ...]
    memory_bytes: int


class GuestRunner(Protocol):
    """Runs a guest to its end."""

    def run(self, job: GuestJob, on_output: Callable[[bytes], None]) -> int:
        """Boot `job`, hand what arrives on innkeeper.stdout and innkeeper.stderr to `on_output`, and return the
        number of the `exit` line on innkeeper.control once the guest is off.

        Raises InnkeeperError if the guest ends without that line.
        """
