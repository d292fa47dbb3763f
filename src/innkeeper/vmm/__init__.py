# SPDX-License-Identifier: Apache-2.0
"""The process that owns one virtual machine, and the SDK to it.

Names are loaded when first used: the process has no use for most of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from innkeeper.vmm.disks import DiskSpec
    from innkeeper.vmm.job import GuestJobRunner
    from innkeeper.vmm.machine import DEFAULT_IMAGE, TIMEOUT_STATUS, Machine, Result

__all__ = ["DEFAULT_IMAGE", "TIMEOUT_STATUS", "DiskSpec", "GuestJobRunner", "Machine", "Result"]
_HOMES = {"DiskSpec": "disks", "GuestJobRunner": "job"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'innkeeper.vmm' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"innkeeper.vmm.{_HOMES.get(name, 'machine')}"), name)
