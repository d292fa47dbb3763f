# SPDX-License-Identifier: Apache-2.0
"""Which disks a machine has."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from innkeeper.devices.virtio.block import DiskBackend
from innkeeper.errors import ConfigError
from innkeeper.images.disk import RawDisk
from innkeeper.images.overlay import MemoryOverlay, OverlayDisk

OVERLAY_SUFFIX = ".overlay"
"""By this a file is known as an overlay. Never by its content: that of a raw disk is the guest's, which
could make its next boot read any file of the host as its base."""


@dataclass(frozen=True)
class DiskSpec:
    """A disk of the user, written to unless `read_only`.

    A raw file, a block device, or an overlay file, whose name ends in `OVERLAY_SUFFIX`.
    """

    path: Path
    read_only: bool = False

    @classmethod
    def parse(cls, text: str) -> DiskSpec:
        """`FILE` or `FILE,ro`. ConfigError for anything else."""
        name, _, option = text.partition(",") if not Path(text).exists() else (text, "", "")
        if not name or option not in ("", "ro", "rw"):
            raise ConfigError(f"{text!r} does not name a disk", "write FILE, or FILE,ro to keep it as it is")
        return cls(Path(name), read_only=option == "ro")


def open_disks(
    root_disk: Path | None, disks: Sequence[DiskSpec], stack: contextlib.ExitStack
) -> list[DiskBackend]:
    """Open the image's root disk under a throw-away overlay, then the user's; closed by `stack`.

    ConfigError for a disk that is missing, locked or damaged.
    """
    opened: list[DiskBackend] = []
    if root_disk is not None:
        overlay = MemoryOverlay(RawDisk(root_disk, read_only=True))
        stack.callback(overlay.close)
        opened.append(overlay)
    for disk in disks:
        backend = (
            OverlayDisk(disk.path, disk.read_only)
            if disk.path.suffix == OVERLAY_SUFFIX
            else RawDisk(disk.path, disk.read_only)
        )
        stack.callback(backend.close)
        opened.append(backend)
    return opened
