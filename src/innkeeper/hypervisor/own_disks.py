# SPDX-License-Identifier: Apache-2.0
"""The overlays in a VM's folder, while a snapshot takes their place.

They are put aside before the snapshot's VMM starts, and forgotten once it runs. If it does not start they
come back, so that a damaged snapshot costs nothing. All of these can be ended at any moment and done again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from innkeeper.hypervisor.folders import DISKS, remove_folder, sync_folder

ASIDE = "disks-before"


def set_aside(folder: Path) -> None:
    """Give the VM in `folder` no own disks, and keep those that it has. OSError if the host cannot."""
    disks, aside = folder / DISKS, folder / ASIDE
    if aside.exists():
        shutil.rmtree(disks, ignore_errors=True)
    else:
        os.rename(disks, aside)
    disks.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder)


def bring_back(folder: Path) -> None:
    """Undo `set_aside`."""
    disks, aside = folder / DISKS, folder / ASIDE
    if aside.exists():
        shutil.rmtree(disks, ignore_errors=True)
        os.rename(aside, disks)
        sync_folder(folder)


def forget(folder: Path) -> None:
    """The disks that were put aside are not needed any more."""
    remove_folder(folder / ASIDE)
