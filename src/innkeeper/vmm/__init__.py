# SPDX-License-Identifier: Apache-2.0
"""The process that owns one virtual machine, and the SDK to it."""

from innkeeper.vmm.disks import DiskSpec
from innkeeper.vmm.job import GuestJobRunner
from innkeeper.vmm.machine import DEFAULT_IMAGE, TIMEOUT_STATUS, Machine, Result

__all__ = ["DEFAULT_IMAGE", "TIMEOUT_STATUS", "DiskSpec", "GuestJobRunner", "Machine", "Result"]
