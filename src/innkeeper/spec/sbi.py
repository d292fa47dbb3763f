# SPDX-License-Identifier: Apache-2.0
"""Numbers of the RISC-V Supervisor Binary Interface.

Spec: riscv-sbi-doc v2.0
"""

from __future__ import annotations

from enum import IntEnum

SPEC_VERSION = 2 << 24 | 0
"""Major in bits 30:24, minor in 23:0 (4.1)."""


class Error(IntEnum):
    """3, table 1 "Standard SBI Errors"."""

    SUCCESS = 0
    FAILED = -1
    NOT_SUPPORTED = -2
    INVALID_PARAM = -3
    DENIED = -4
    INVALID_ADDRESS = -5
    ALREADY_AVAILABLE = -6
    ALREADY_STARTED = -7
    ALREADY_STOPPED = -8
    NO_SHMEM = -9


class Extension(IntEnum):
    """Extension ids, register a7."""

    LEGACY_SET_TIMER = 0x00
    LEGACY_CONSOLE_PUTCHAR = 0x01
    LEGACY_CONSOLE_GETCHAR = 0x02
    LEGACY_CLEAR_IPI = 0x03
    LEGACY_SEND_IPI = 0x04
    LEGACY_REMOTE_FENCE_I = 0x05
    LEGACY_REMOTE_SFENCE_VMA = 0x06
    LEGACY_REMOTE_SFENCE_VMA_ASID = 0x07
    LEGACY_SHUTDOWN = 0x08
    BASE = 0x10
    TIME = 0x54494D45
    IPI = 0x735049
    RFENCE = 0x52464E43
    HSM = 0x48534D
    SRST = 0x53525354
    DBCN = 0x4442434E


class HartState(IntEnum):
    """9, table "HSM Hart States"."""

    STARTED = 0
    STOPPED = 1
    START_PENDING = 2
    STOP_PENDING = 3
    SUSPENDED = 4
    SUSPEND_PENDING = 5
    RESUME_PENDING = 6


SUSPEND_RETENTIVE = 0x0000_0000
SUSPEND_NON_RETENTIVE = 0x8000_0000
"""Default suspend types (9.4)."""

RESET_SHUTDOWN = 0
RESET_COLD_REBOOT = 1
RESET_WARM_REBOOT = 2
RESET_REASON_NONE = 0
RESET_REASON_FAILURE = 1
"""10.1."""
