# SPDX-License-Identifier: Apache-2.0
"""The disks of a VM that a VMM process owns, and what becomes of them in forks and snapshots.

What the guest writes to the root disk of its image is in an overlay file of the VM. A fork and a snapshot get
a copy of that file, made at rest; other disks belong to the user and are not copied.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from innkeeper.api.vmm_protocol import VmmConfig
from innkeeper.devices.virtio.block import DiskBackend
from innkeeper.errors import ConfigError, HostError
from innkeeper.host.sparse_copy import copy_sparse
from innkeeper.images.overlay import OverlayDisk
from innkeeper.vmm.disks import DiskSpec, open_disks
from innkeeper.vmm.plugs import DiskPlug

FROZEN_ROOT = "root.overlay"
"""Name of the copy in the folder of a snapshot."""


class GuestDisks:
    """Opens the disks of `config`; `backends` are in the guest's order. Raises ConfigError and HostError."""

    def __init__(self, config: VmmConfig, root_disk: Path | None) -> None:
        self._config = config
        self._stack = contextlib.ExitStack()
        self._root: DiskPlug | None = None
        self._root_is_kept = config.root_overlay is not None
        try:
            self.backends = self._open(root_disk)
        except BaseException:
            self._stack.close()
            raise

    def close(self) -> None:
        """Flush and close."""
        self._stack.close()
        self._close_root()

    def _open(self, root_disk: Path | None) -> list[DiskBackend]:
        config = self._config
        disks = [DiskSpec(Path(disk.path), disk.read_only) for disk in config.disks]
        if root_disk is None or config.root_overlay is None:
            return open_disks(root_disk, disks, self._stack)
        overlay = Path(config.root_overlay)
        if config.restore_from is not None:
            _copy(Path(config.restore_from) / FROZEN_ROOT, overlay)
        elif not overlay.exists():
            OverlayDisk.create(overlay, root_disk)
        self._root = DiskPlug(OverlayDisk(overlay))
        return [self._root, *open_disks(None, disks, self._stack)]

    def _close_root(self) -> None:
        if self._root is not None and isinstance(self._root.disk, OverlayDisk):
            self._root.disk.close()

    # Forks and snapshots.

    def require_copyable(self) -> None:
        """ConfigError if a copy of the VM would share a disk with it."""
        for disk in self._config.disks:
            if not disk.read_only:
                raise ConfigError(
                    f"the disk {disk.path} would be written by both", "attach it read-only, or detach it"
                )
        if self._root is None and len(self.backends) > len(self._config.disks):
            raise ConfigError("the VM throws away its root disk's changes", "give it a root overlay")

    def freeze(self, target: Path) -> bool:
        """Copy the root overlay, at rest, to `target`; False if there is none. HostError if it cannot be."""
        if self._root is None or self._config.root_overlay is None:
            return False
        self._root.flush()
        _copy(Path(self._config.root_overlay), target)
        return True

    def become(self, config: VmmConfig) -> None:
        """In a forked child: use the copy that `freeze` has made for it."""
        self._config = config
        if self._root is None or config.root_overlay is None:
            return
        if isinstance(self._root.disk, OverlayDisk):
            self._root.disk.abandon()
        self._root.disk = OverlayDisk(Path(config.root_overlay))


def _copy(source: Path, target: Path) -> None:
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target)
        copy_sparse(source, target)
    except OSError as error:
        raise HostError(
            f"the disk {source} cannot be copied to {target}: {error.strerror}", "free some space"
        ) from error
