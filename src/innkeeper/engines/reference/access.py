# SPDX-License-Identifier: Apache-2.0
"""Memory accesses of a hart: translation, misalignment, atomics, and what leaves to the machine."""

from __future__ import annotations

from collections.abc import Callable

from innkeeper.engines.engine import ExitReason
from innkeeper.engines.reference.floating import number_of
from innkeeper.engines.reference.pages import PageCache
from innkeeper.engines.reference.ram import Memory
from innkeeper.ir.native import M64
from innkeeper.ir.value import Bits, Value
from innkeeper.isa.riscv.state import (
    EXIT_ADDRESS,
    EXIT_REASON,
    EXIT_SIZE,
    EXIT_VALUE,
    FAULT_TVAL,
    NO_RESERVATION,
    OUTCOME_EXIT,
    RESERVATION,
    RESERVED_VALUE,
    RESULT,
)
from innkeeper.isa.riscv.surroundings import HartWords
from innkeeper.isa.riscv.translation import FETCH, LOAD, STORE, translate
from innkeeper.isa.riscv.traps import raise_exception
from innkeeper.spec.riscv import (
    CAUSE_FETCH_ACCESS,
    CAUSE_LOAD_ACCESS,
    CAUSE_LOAD_MISALIGNED,
    CAUSE_STORE_ACCESS,
    CAUSE_STORE_MISALIGNED,
    PAGE_BYTES,
)

_IN_PAGE = PAGE_BYTES - 1
_MISALIGNED = {LOAD: CAUSE_LOAD_MISALIGNED, STORE: CAUSE_STORE_MISALIGNED}
_ACCESS_FAULT = {LOAD: CAUSE_LOAD_ACCESS, STORE: CAUSE_STORE_ACCESS}


class Aborted(Exception):
    """The present instruction ends here: a trap was taken, or it leaves; `outcome` as `step` returns it."""

    def __init__(self, outcome: int) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def _signed(value: int, width: int) -> int:
    return value - (1 << width) if value >> (width - 1) else value


ATOMIC: dict[str, Callable[[int, int, int], int]] = {
    "swap": lambda old, new, width: new,
    "add": lambda old, new, width: (old + new) & ((1 << width) - 1),
    "and": lambda old, new, width: old & new,
    "or": lambda old, new, width: old | new,
    "xor": lambda old, new, width: old ^ new,
    "min": lambda old, new, width: old if _signed(old, width) <= _signed(new, width) else new,
    "max": lambda old, new, width: old if _signed(old, width) >= _signed(new, width) else new,
    "minu": lambda old, new, width: min(old, new),
    "maxu": lambda old, new, width: max(old, new),
}
"""What an atomic operation leaves in memory: of the old value, the operand, and their width."""


class MemoryAccess:
    """The part of `Hart` that accesses memory.

    An access outside RAM leaves: a load aborts with MMIO_READ and is executed again with `answer` set; a
    store sets `leaving`, and the instruction goes on to its end. FAULT_TVAL is then the virtual address, for
    a machine that has nothing there. A misaligned one outside RAM is an access fault, so that nobody emulates
    it piece by piece: riscv-priv 20240411, "Machine Cause (mcause) Register", of both causes, allows that.
    """

    def __init__(self, h: HartWords, memory: Memory, pages: PageCache) -> None:
        self.h = h
        self.words = h.words
        self.memory = memory
        self.pages = pages
        self.answer: int | None = None
        self.leaving = 0

    def trap(self, cause: int, tval: int) -> Aborted:
        """Take an exception; to be raised by the caller."""
        return Aborted(raise_exception(self.h, cause, tval))

    def physical(self, va: int, access: int) -> int:
        """The physical address, for one page; traps."""
        page = self.pages.maps[access].get(va >> 12)
        if page is not None:
            return page | va & _IN_PAGE
        cause = translate(self.h, va, access)
        if cause:
            raise self.trap(cause, self.words[FAULT_TVAL])
        found = self.words[RESULT]
        if self.memory.is_ram(found & ~_IN_PAGE, PAGE_BYTES):
            self.pages.maps[access][va >> 12] = found & ~_IN_PAGE
        return found

    def fetch(self, pc: int) -> int:
        """The instruction's bits at `pc`: 16 or 32 of them; traps."""
        page = self.pages.maps[FETCH].get(pc >> 12)
        if page is not None and pc & _IN_PAGE <= PAGE_BYTES - 4:
            bits = self.memory.read(page | pc & _IN_PAGE, 4)
            return bits if bits & 3 == 3 else bits & 0xFFFF
        first = self._fetch_half(pc)
        return first if first & 3 != 3 else first | self._fetch_half((pc + 2) & M64) << 16

    def _fetch_half(self, va: int) -> int:
        address = self.physical(va, FETCH)
        if not self.memory.is_ram(address, 2):
            raise self.trap(CAUSE_FETCH_ACCESS, va)
        return self.memory.read(address, 2)

    def load(self, address: Value, width: int) -> Value:
        va, size_bytes = number_of(address), width >> 3
        page = self.pages.maps[LOAD].get(va >> 12)
        if page is not None and (va & _IN_PAGE) + size_bytes <= PAGE_BYTES:
            return Bits(self.memory.read(page | va & _IN_PAGE, size_bytes), width)
        if (va & _IN_PAGE) + size_bytes > PAGE_BYTES:
            low, high, split = self._crossing(va, size_bytes, LOAD)
            value = self.memory.read(low, split)
            return Bits(value | self.memory.read(high, size_bytes - split) << split * 8, width)
        pa = self.physical(va, LOAD)
        if self.memory.is_ram(pa, size_bytes):
            return Bits(self.memory.read(pa, size_bytes), width)
        return Bits(self._device_read(va, pa, size_bytes), width)

    def store(self, address: Value, value: Value) -> None:
        va, size_bytes, number = number_of(address), value.width >> 3, number_of(value)
        page = self.pages.maps[STORE].get(va >> 12)
        if page is not None and (va & _IN_PAGE) + size_bytes <= PAGE_BYTES:
            self.memory.write(page | va & _IN_PAGE, size_bytes, number)
            return
        if (va & _IN_PAGE) + size_bytes > PAGE_BYTES:
            low, high, split = self._crossing(va, size_bytes, STORE)
            self.memory.write(low, split, number & ((1 << split * 8) - 1))
            self.memory.write(high, size_bytes - split, number >> split * 8)
            return
        pa = self.physical(va, STORE)
        if self.memory.is_ram(pa, size_bytes):
            self.memory.write(pa, size_bytes, number)
        else:
            self._device(va, pa, size_bytes, STORE)
            self.words[EXIT_VALUE] = number
            self.words[EXIT_REASON] = ExitReason.MMIO_WRITE
            self.leaving = OUTCOME_EXIT + ExitReason.MMIO_WRITE

    def _crossing(self, va: int, size_bytes: int, access: int) -> tuple[int, int, int]:
        """Both physical addresses of an access to two pages, and how many bytes lie in the first."""
        split = PAGE_BYTES - (va & _IN_PAGE)
        low = self.physical(va, access)
        high = self.physical((va + split) & M64, access)
        if self.memory.is_ram(low, split) and self.memory.is_ram(high, size_bytes - split):
            return low, high, split
        raise self.trap(_ACCESS_FAULT[access], (va + split) & M64 if self.memory.is_ram(low, split) else va)

    def _device(self, va: int, pa: int, size_bytes: int, access: int) -> None:
        if va % size_bytes:
            raise self.trap(_ACCESS_FAULT[access], va)
        self.words[FAULT_TVAL] = va
        self.words[EXIT_ADDRESS] = pa
        self.words[EXIT_SIZE] = size_bytes

    def _device_read(self, va: int, pa: int, size_bytes: int) -> int:
        self._device(va, pa, size_bytes, LOAD)
        if self.answer is not None:
            value, self.answer = self.answer, None
            return value
        self.words[EXIT_REASON] = ExitReason.MMIO_READ
        raise Aborted(OUTCOME_EXIT + ExitReason.MMIO_READ)

    def _atomic(self, address: Value, size_bytes: int, access: int) -> int:
        """Physical address of an atomic access: aligned and in RAM, else a trap."""
        va = number_of(address)
        if va % size_bytes:
            raise self.trap(_MISALIGNED[access], va)
        pa = self.physical(va, access)
        if not self.memory.is_ram(pa, size_bytes):
            raise self.trap(_ACCESS_FAULT[access], va)
        return pa

    def load_reserved(self, address: Value, width: int) -> Value:
        pa = self._atomic(address, width >> 3, LOAD)
        value = self.memory.read(pa, width >> 3)
        self.words[RESERVATION] = pa
        self.words[RESERVED_VALUE] = value
        return Bits(value, width)

    def store_conditional(self, address: Value, value: Value) -> Value:
        size_bytes = value.width >> 3
        pa = self._atomic(address, size_bytes, STORE)
        held = self.words[RESERVATION] == pa
        self.words[RESERVATION] = NO_RESERVATION
        expected = self.words[RESERVED_VALUE] & ((1 << value.width) - 1)
        if held and self.memory.cas(pa, size_bytes, expected, number_of(value)):
            return Bits(0, 64)
        return Bits(1, 64)

    def amo(self, operation: str, address: Value, value: Value) -> Value:
        width, operand = value.width, number_of(value)
        pa = self._atomic(address, width >> 3, STORE)
        while True:
            old = self.memory.read(pa, width >> 3)
            if self.memory.cas(pa, width >> 3, old, ATOMIC[operation](old, operand, width)):
                return Bits(old, width)
