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
    """One boot. `initrd` holds a command already (see `command_archive`); disks are /dev/vda, /dev/vdb."""

    kernel: Path
    initrd: bytes
    append: str
    disks: tuple[GuestDisk, ...]
    memory_bytes: int


class GuestRunner(Protocol):
    """Runs a guest to its end."""

    def run(self, job: GuestJob, on_output: Callable[[bytes], None]) -> int:
        """Boot `job` and return the number of the `exit` line on innkeeper.control once the guest is off.

        What arrives on innkeeper.stdout and innkeeper.stderr goes to `on_output`, which may be
        called from several threads.

        Raises InnkeeperError if the guest ends without that line.
        """
