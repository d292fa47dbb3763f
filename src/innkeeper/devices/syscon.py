# SPDX-License-Identifier: Apache-2.0
"""The SiFive test device through which a guest of the `virt` board powers off or resets the machine.

Spec: SiFive "test finisher"; devicetree bindings syscon-poweroff and syscon-reboot.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass


class PowerRequest(enum.Enum):
    """What the guest asks for; the value is what it stores."""

    POWER_OFF = 0x5555
    FAIL = 0x3333
    RESET = 0x7777


@dataclass
class SysconState:
    """The device keeps nothing."""


class Syscon:
    """Calls `on_request(request, code)`; `code` is 0 except for FAIL, whose exit code is in bits 31:16."""

    def __init__(self, on_request: Callable[[PowerRequest, int], None]) -> None:
        self._on_request = on_request
        self.state = SysconState()

    def reset(self) -> None:
        self.state = SysconState()

    def read(self, offset: int, size_bytes: int) -> int:
        return 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """A store to offset 0 whose low 16 bits name a request; any other is ignored."""
        if offset != 0:
            return
        try:
            request = PowerRequest(value & 0xFFFF)
        except ValueError:
            return
        self._on_request(request, value >> 16 & 0xFFFF if request is PowerRequest.FAIL else 0)
