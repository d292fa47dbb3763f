# SPDX-License-Identifier: Apache-2.0
"""What `Machine` is given, checked."""

from __future__ import annotations

import os
from pathlib import Path

from innkeeper.errors import ConfigError
from innkeeper.vmm.disks import DiskSpec

TIMEOUT_MAX_S = 1e9
PathLike = str | os.PathLike[str]


def disk_spec(disk: DiskSpec | PathLike) -> DiskSpec:
    """A string is read as `DiskSpec.parse` does, a path is taken as it is."""
    if isinstance(disk, DiskSpec):
        return disk
    return DiskSpec.parse(disk) if isinstance(disk, str) else DiskSpec(Path(disk))


def checked_timeout(timeout_s: float | None) -> float | None:
    """ConfigError for what is no time."""
    if timeout_s is not None and not 0 < timeout_s <= TIMEOUT_MAX_S:
        raise ConfigError(f"{timeout_s} is not a time-out", "give seconds above 0, or None for no limit")
    return timeout_s
