# SPDX-License-Identifier: Apache-2.0
"""A little guest on an engine: RAM between guard areas, page tables, one program, some harts."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

from innkeeper.engines.engine import Exit, ExitReason
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from innkeeper.isa.riscv.assembler import assemble
from innkeeper.isa.riscv.state import PC, PRIV, SATP, X

BASE = 0x8000_0000
RAM_BYTES = 1 << 20
PAGE = 4096
GUARD_BYTES = 1 << 16
_CANARY = b"\xa5" * GUARD_BYTES
V, R, W, XX, U, G, A, D = 1, 2, 4, 8, 16, 32, 64, 128
"""Bits of a page table entry."""
LEAF = V | A | D
SV39 = 8 << 60


class GuardedRam:
    """Guest RAM (`GuestRam`) inside a larger mapping; `intact`: nothing beside it was written."""

    def __init__(self, size_bytes: int = RAM_BYTES, base: int = BASE) -> None:
        self.base = base
        self.size_bytes = size_bytes
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._mapping = mmap.mmap(-1, size_bytes + 2 * GUARD_BYTES, flags=flags)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._mapping))
        self.host_address = start + GUARD_BYTES
        self._all = memoryview(self._mapping)
        self._all[:GUARD_BYTES] = self._all[-GUARD_BYTES:] = _CANARY
        self.buffer = self._all[GUARD_BYTES : GUARD_BYTES + size_bytes]

    @property
    def intact(self) -> bool:
        return self._all[:GUARD_BYTES] == _CANARY and self._all[-GUARD_BYTES:] == _CANARY

    def write(self, address: int, data: bytes) -> None:
        self.buffer[address - self.base :][: len(data)] = data

    def read(self, address: int, size_bytes: int) -> bytes:
        return bytes(self.buffer[address - self.base :][:size_bytes])

    def put64(self, address: int, value: int) -> None:
        self.write(address, value.to_bytes(8, "little"))

    def get64(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")


def jit(ram: GuardedRam) -> JitEngine:
    return JitEngine(ram)


def reference(ram: GuardedRam) -> ReferenceEngine:
    return ReferenceEngine(ram)


class Guest:
    """An engine over RAM with hart 0. `tables` maps pages of the address space whose root is at `root`."""

    def __init__(
        self,
        make: Callable[[GuardedRam], Any] = jit,
        harts: int = 1,
        per_tick: int = 0,
        ram_bytes: int = RAM_BYTES,
    ) -> None:
        self.ram = GuardedRam(ram_bytes)
        self.engine = make(self.ram)
        self.vcpus = [
            self.engine.create_vcpu(i, ecall_exits=True, instructions_per_tick=per_tick) for i in range(harts)
        ]
        self.vcpu = self.vcpus[0]
        self.words = self.vcpu.words
        self._next_table = BASE + ram_bytes - PAGE

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.ram.intact
        self.engine.close()

    def program(self, text: str, address: int = BASE) -> None:
        """Put assembled text into RAM."""
        self.ram.write(address, assemble(text, address))

    def start(self, pc: int = BASE, privilege: int = 1) -> None:
        """Reset hart 0."""
        self.vcpu.reset(pc, privilege, 0, 0)

    def run(self, budget: int = 100_000) -> Exit:
        left: Exit = self.vcpu.run(budget)
        return left

    def finish(self, budget: int = 100_000) -> None:
        """Run to the ecall."""
        left = self.run(budget)
        assert left.reason == ExitReason.ECALL, (left, hex(self.words[PC]), self.words[PRIV])

    def x(self, register: int) -> int:
        value: int = self.words[X + register]
        return value

    def statistic(self, name: str) -> int:
        value: int = self.engine.statistics()[name]
        return value

    # Page tables, from the end of RAM downwards.

    def new_table(self) -> int:
        """Address of a table with no entries."""
        self._next_table -= PAGE
        return self._next_table

    def map(self, root: int, va: int, pa: int, bits: int, level: int = 0) -> int:
        """Map the page of `level` at `va`; the address of its entry."""
        table = root
        for at in range(2, level, -1):
            entry = table + 8 * (va >> 12 + 9 * at & 511)
            if self.ram.get64(entry) & V == 0:
                self.ram.put64(entry, self.new_table() >> 2 | V)
            table = self.ram.get64(entry) >> 10 << 12
        entry = table + 8 * (va >> 12 + 9 * level & 511)
        self.ram.put64(entry, pa >> 2 | bits)
        return entry

    def use(self, root: int, asid: int = 0) -> None:
        """Translate through `root` from now on."""
        self.words[SATP] = SV39 | asid << 44 | root >> 12
        self.vcpu.flush()

    def select(self, root: int, asid: int) -> None:
        """Translate through `root` from now on, with no fence; jit only."""
        self.words[SATP] = SV39 | asid << 44 | root >> 12
        self.engine.function("jit_translation_changed", 1)(self.vcpu.address)

    def fence(self, va: int | None, asid: int | None) -> None:
        """sfence.vma on hart 0; jit only."""
        flush = self.engine.function("jit_translations_flush", 5)
        flush(self.vcpu.address, va or 0, va is not None, asid or 0, asid is not None)
