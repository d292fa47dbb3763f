# SPDX-License-Identifier: Apache-2.0
"""The Supervisor Binary Interface, answered by the machine where there is no firmware.

Base, TIME, IPI, RFENCE, HSM, SRST, DBCN and the legacy calls that are not about other harts' memory. All
arguments come from the guest: every hart mask, address and length is checked before it is used.

Spec: riscv-sbi 2.0; sections are named at the functions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from innkeeper.errors import GuestError
from innkeeper.isa.riscv import state
from innkeeper.machine.hart import MASK_64, Hart
from innkeeper.spec import sbi
from innkeeper.spec.sbi import Error, Extension, HartState

IMPLEMENTATION_ID = 0x494E4E
"""No number is registered for us (table "SBI Implementation IDs"); "INN"."""
IMPLEMENTATION_VERSION = 1
_TRANSFER_LIMIT_BYTES = 4096
"""At most this much moves in one debug console call, so that it is short; the caller sees how much it was."""
_A0, _A1, _A6, _A7 = state.X + 10, state.X + 11, state.X + 16, state.X + 17

_REACHABLE = (HartState.STARTED, HartState.SUSPENDED)
"""A hart in another state starts with nothing pending and nothing translated."""

Answer = tuple[int, int]
"""(error, value) as they go to a0 and a1."""
_SUCCESS: Answer = (0, 0)
_NOT_SUPPORTED: Answer = (Error.NOT_SUPPORTED, 0)
_INVALID_PARAM: Answer = (Error.INVALID_PARAM, 0)


class SbiPlatform(Protocol):
    """What SBI needs of the machine around it."""

    harts: Sequence[Hart]

    def read_memory(self, address: int, size_bytes: int) -> bytes:
        """Guest RAM; GuestError outside."""

    def write_memory(self, address: int, data: bytes) -> None:
        """Guest RAM; GuestError outside."""

    def remote_fence(self, hart_mask: int, *, instruction: bool) -> None:
        """Make the harts flush translations (and code) before returning."""

    def console_write(self, data: bytes) -> None:
        """Bytes for the user's terminal."""

    def console_read(self, limit_bytes: int) -> bytes:
        """Bytes that the user typed, at most so many, without waiting."""

    def power_off(self, *, failed: bool) -> None:
        """Ask for the end of the machine."""

    def reset(self) -> None:
        """Ask for a reset of the machine."""


class Sbi:
    """Answers the environment calls of all harts of one machine."""

    def __init__(self, platform: SbiPlatform) -> None:
        self._platform = platform
        self._hsm_lock = threading.Lock()
        self._extensions: dict[int, Callable[[Hart, int], Answer]] = {
            Extension.BASE: self._base,
            Extension.TIME: self._time,
            Extension.IPI: self._ipi,
            Extension.RFENCE: self._rfence,
            Extension.HSM: self._hsm,
            Extension.SRST: self._srst,
            Extension.DBCN: self._dbcn,
        }
        self._legacy: dict[int, Callable[[Hart], int]] = {
            Extension.LEGACY_SET_TIMER: self._legacy_set_timer,
            Extension.LEGACY_CONSOLE_PUTCHAR: self._legacy_putchar,
            Extension.LEGACY_CONSOLE_GETCHAR: self._legacy_getchar,
            Extension.LEGACY_SHUTDOWN: self._legacy_shutdown,
        }

    def call(self, hart: Hart) -> None:
        """Answer the call that `hart` is at: a7 names the extension, a6 the function, a0.. the arguments.

        Results go to a0 and a1; a legacy call changes a0 only.
        Spec: 3 "Binary Encoding", 5 "Legacy Extensions".
        """
        words = hart.words
        extension = words[_A7]
        function = self._extensions.get(extension)
        if function is not None:
            error, value = function(hart, words[_A6])
            words[_A0] = error & MASK_64
            words[_A1] = value & MASK_64
            return
        legacy = self._legacy.get(extension)
        if legacy is not None:
            words[_A0] = legacy(hart) & MASK_64
            return
        words[_A0] = Error.NOT_SUPPORTED & MASK_64
        words[_A1] = 0

    def _base(self, hart: Hart, function: int) -> Answer:
        """4 "Base Extension": versions, probing, and the machine's ids, which read 0 in the CSRs too."""
        if function == 3:
            extension = hart.words[_A0]
            return (0, int(extension in self._extensions or extension in self._legacy))
        answers = (sbi.SPEC_VERSION, IMPLEMENTATION_ID, IMPLEMENTATION_VERSION, 0, 0, 0, 0)
        return (0, answers[function]) if function < len(answers) else _NOT_SUPPORTED

    def _time(self, hart: Hart, function: int) -> Answer:
        """6.1 "Set Timer": also clears the pending timer interrupt, which follows stimecmp here."""
        if function != 0:
            return _NOT_SUPPORTED
        hart.words[state.STIMECMP] = hart.words[_A0]
        return _SUCCESS

    def _ipi(self, hart: Hart, function: int) -> Answer:
        """7.1 "Send IPI"."""
        if function != 0:
            return _NOT_SUPPORTED
        targets = self._targets(hart.words[_A0], hart.words[_A1])
        if targets is None:
            return _INVALID_PARAM
        for target in targets:
            target.post_ipi()
        return _SUCCESS

    def _rfence(self, hart: Hart, function: int) -> Answer:
        """8 "RFENCE Extension": each range and ASID is taken as all of them; flushing too much is allowed."""
        if function > 2:  # hfence: there is no hypervisor extension
            return _NOT_SUPPORTED
        targets = self._targets(hart.words[_A0], hart.words[_A1])
        if targets is None:
            return _INVALID_PARAM
        mask = sum(1 << target.index for target in targets)
        if mask:
            self._platform.remote_fence(mask, instruction=function == 0)
        return _SUCCESS

    def _targets(self, mask: int, base: int) -> list[Hart] | None:
        """The running harts that (hart_mask, hart_mask_base) name; None if it names one that does not exist.

        Spec: 3.1 "Hart list parameter"
        """
        harts = self._platform.harts
        if base == MASK_64:
            selected = list(harts)
        elif base + mask.bit_length() > len(harts):
            return None
        else:
            selected = [hart for hart in harts if hart.index >= base and mask >> (hart.index - base) & 1]
        return [hart for hart in selected if hart.state in _REACHABLE]

    def _hsm(self, hart: Hart, function: int) -> Answer:
        """9 "Hart State Management Extension"."""
        if function == 0:
            return self._hart_start(hart.words[_A0], hart.words[_A1], hart.words[state.X + 12])
        if function == 1:
            return self._hart_stop(hart)
        if function == 2:
            index = hart.words[_A0]
            harts = self._platform.harts
            return (0, harts[index].state) if index < len(harts) else _INVALID_PARAM
        if function == 3:
            return self._hart_suspend(hart)
        return _NOT_SUPPORTED

    def _hart_start(self, index: int, address: int, opaque: int) -> Answer:
        """9.1: the hart's own thread carries the start out."""
        if index >= len(self._platform.harts):
            return _INVALID_PARAM
        if not self._is_code_address(address):
            return (Error.INVALID_ADDRESS, 0)
        target = self._platform.harts[index]
        with self._hsm_lock:
            if target.state != HartState.STOPPED or target.start_request is not None:
                return (Error.ALREADY_AVAILABLE, 0)
            target.state = HartState.START_PENDING
            target.start_request = (address, opaque)
        target.wake()
        return _SUCCESS

    def _hart_stop(self, hart: Hart) -> Answer:
        """9.2: does not return; the hart's thread waits for the next start."""
        with self._hsm_lock:
            hart.state = HartState.STOPPED
            hart.running = False
        return _SUCCESS

    def _hart_suspend(self, hart: Hart) -> Answer:
        """9.4: the hart sleeps as in WFI; after a non-retentive suspend it starts at the given address."""
        kind, address = hart.words[_A0], hart.words[_A1]
        if kind >> 32 not in (0, 0xFFFF_FFFF):
            return _INVALID_PARAM
        kind &= 0xFFFF_FFFF
        if kind == sbi.SUSPEND_RETENTIVE:
            hart.suspend_request = None
        elif kind == sbi.SUSPEND_NON_RETENTIVE:
            if not self._is_code_address(address):
                return (Error.INVALID_ADDRESS, 0)
            hart.suspend_request = (address, hart.words[state.X + 12])
        else:
            return _INVALID_PARAM
        hart.state = HartState.SUSPENDED
        return _SUCCESS

    def _is_code_address(self, address: int) -> bool:
        if address % 2:
            return False
        try:
            self._platform.read_memory(address, 2)
        except GuestError:
            return False
        return True

    def _srst(self, hart: Hart, function: int) -> Answer:
        """10.1 "System reset": does not return if it is accepted."""
        if function != 0:
            return _NOT_SUPPORTED
        kind, reason = hart.words[_A0], hart.words[_A1]
        if reason not in (sbi.RESET_REASON_NONE, sbi.RESET_REASON_FAILURE):
            return _INVALID_PARAM
        if kind == sbi.RESET_SHUTDOWN:
            self._platform.power_off(failed=reason == sbi.RESET_REASON_FAILURE)
        elif kind in (sbi.RESET_COLD_REBOOT, sbi.RESET_WARM_REBOOT):
            self._platform.reset()
        else:
            return _INVALID_PARAM
        return _SUCCESS

    def _dbcn(self, hart: Hart, function: int) -> Answer:
        """12 "Debug Console Extension"."""
        size_bytes, low, high = (hart.words[_A0 + i] for i in range(3))
        if function == 2:
            self._platform.console_write(bytes((size_bytes & 0xFF,)))
            return _SUCCESS
        if function > 2:
            return _NOT_SUPPORTED
        if size_bytes == 0:
            return _SUCCESS
        if high:  # RAM lies below 2**64
            return _INVALID_PARAM
        part = min(size_bytes, _TRANSFER_LIMIT_BYTES)
        try:
            # The whole range has to be RAM, also what is not moved in this call.
            self._check_range(low, size_bytes)
            if function == 0:
                self._platform.console_write(self._platform.read_memory(low, part))
                return (0, part)
            data = self._platform.console_read(part)
            self._platform.write_memory(low, data)
            return (0, len(data))
        except GuestError:
            return _INVALID_PARAM

    def _check_range(self, address: int, size_bytes: int) -> None:
        self._platform.read_memory(address, 1)
        self._platform.read_memory(address + size_bytes - 1, 1)

    def _legacy_set_timer(self, hart: Hart) -> int:
        """5.1"""
        hart.words[state.STIMECMP] = hart.words[_A0]
        return 0

    def _legacy_putchar(self, hart: Hart) -> int:
        """5.2"""
        self._platform.console_write(bytes((hart.words[_A0] & 0xFF,)))
        return 0

    def _legacy_getchar(self, hart: Hart) -> int:
        """5.3: the character, or -1 if there is none."""
        data = self._platform.console_read(1)
        return data[0] if data else -1

    def _legacy_shutdown(self, hart: Hart) -> int:
        """5.9"""
        self._platform.power_off(failed=False)
        return 0
