# SPDX-License-Identifier: Apache-2.0
"""Arbitrary guests: any bits as code, any tables, any state; and a hart that notes what a hart may cache."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from innkeeper.engines.engine import Exit, ExitReason, Vcpu
from innkeeper.engines.reference.hart import ReferenceHart
from innkeeper.engines.reference.ram import RamSurroundings
from innkeeper.engines.reference.vcpu import ReferenceVcpu
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.assembler import assemble
from innkeeper.isa.riscv.csrs_write import MSTATUS_WRITABLE
from innkeeper.isa.riscv.decoder import decode
from innkeeper.isa.riscv.definition import COMPRESSED, INSTRUCTIONS
from innkeeper.isa.riscv.translation import FETCH
from innkeeper.spec import riscv as spec
from tests.unit.runtime.guest import BASE, PAGE, GuardedRam

RAM_BYTES = 32 * PAGE
CODE_PAGES = range(0, 8)
TABLE_PAGES = range(16, 24)
HANDLER = 30 * PAGE
"""Where trap handlers are, as an offset in RAM."""
decode(0)  # registers all definitions
CSRS = [number for name, number in vars(spec).items() if name.startswith("CSR_")]
NAMES = list(INSTRUCTIONS)
LIKELY = [
    n for n in NAMES if n[:2] in ("lb", "lw", "ld", "sb", "sw", "sd", "sr", "mr", "sf", "fe", "cs", "am")
]
ARCHITECTED = [
    *range(state.X, state.X + 32), state.PC, *range(state.PRIV, state.INSTRET + 1),
    *range(state.F, state.F + 32), state.CYCLE_OFFSET, state.INSTRET_OFFSET, state.RESERVATION,
    state.RESERVED_VALUE, state.TRAP_COUNT, *range(state.PMPCFG, state.PMP_ACTIVE + 1),
]  # fmt: skip
NAME_OF = {v: k for k, v in vars(state).items() if k.isupper() and isinstance(v, int)}
STEADY_CLOCK = 1 << 50
"""Instructions per tick: time stands still."""


def random_word(rng: random.Random) -> int:
    """An instruction: any bits, or a defined one with random fields."""
    kind = rng.random()
    if kind < 0.1:
        return rng.getrandbits(32)
    if kind < 0.25:
        short = rng.choice(list(COMPRESSED.values())).encoding
        return short.match | rng.getrandbits(16) & ~short.mask & 0xFFFF
    encoding = INSTRUCTIONS[rng.choice(NAMES if kind < 0.7 else LIKELY)].encoding
    word = encoding.match | rng.getrandbits(32) & ~encoding.mask
    if encoding.field("csr") and rng.random() < 0.95:
        word = word & 0xFFFFF | rng.choice(CSRS) << 20
    return word


def random_code(rng: random.Random) -> bytes:
    """A page of it."""
    code = b"" if rng.random() < 0.5 else rng.randbytes(2)
    while len(code) < PAGE:
        word = random_word(rng)
        code += word.to_bytes(4, "little") if word & 3 == 3 else (word & 0xFFFF).to_bytes(2, "little")
    return code[:PAGE]


def random_address(rng: random.Random) -> int:
    kind = rng.random()
    if kind < 0.6:
        return BASE + rng.randrange(RAM_BYTES)
    if kind < 0.7:
        return BASE + rng.randrange(RAM_BYTES // PAGE + 1) * PAGE + rng.randrange(-8, 8)
    if kind < 0.8:
        return rng.choice([0x1000_0000, 0x0C00_0000, 0, BASE - 8, BASE + RAM_BYTES]) + rng.randrange(64)
    return rng.getrandbits(rng.choice([12, 32, 39, 48, 56, 64]))


def random_entry(rng: random.Random) -> int:
    """A page table entry: mostly valid; into RAM (code, data, tables), to devices, or anywhere."""
    if rng.random() < 0.05:
        return rng.getrandbits(64)
    page = random_address(rng) >> 12
    if rng.random() < 0.3:
        page = (BASE >> 12) + rng.choice(TABLE_PAGES)
        return page << 10 | (1 if rng.random() < 0.9 else rng.getrandbits(10))
    flags = rng.getrandbits(10) | 1
    return page << 10 | flags | (0xC0 if rng.random() < 0.6 else 0) | (2 if flags & 4 else 0)


def random_value(rng: random.Random) -> int:
    if rng.random() < 0.5:
        return random_address(rng) & (1 << 64) - 1
    return rng.choice([0, 1, (1 << 64) - 1, 1 << 63, 0x3FF0 << 48, rng.getrandbits(64), rng.getrandbits(8)])


@dataclass
class Case:
    """What a guest begins with."""

    memory: bytearray
    words: dict[int, int]
    privilege: int


class Cases:
    """Makes cases from pages of code, of tables and of values that are made once."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._code = [random_code(rng) for _ in range(48)]
        self._tables = [random_table(rng) for _ in range(32)]
        self._values = [rng.randbytes(PAGE) for _ in range(4)]

    def page(self, number: int) -> bytes:
        if number in CODE_PAGES:
            return self.rng.choice(self._code)
        return self.rng.choice(self._tables if number in TABLE_PAGES else self._values)

    def make(self) -> Case:
        """The next case."""
        memory = bytearray().join(self.page(number) for number in range(RAM_BYTES // PAGE))
        return random_case(self.rng, memory)


def random_table(rng: random.Random) -> bytes:
    return b"".join(random_entry(rng).to_bytes(8, "little") for _ in range(PAGE // 8))


def map_gigapages(rng: random.Random, memory: bytearray, root: int, privilege: int) -> None:
    """Let root entries be leaves: for the addresses of RAM, so that code is found there, of devices, and RAM
    once more for handlers in S-mode."""
    flags = 0xCF | (0x10 if privilege == 0 else 0)
    offset = (root - (BASE >> 12)) * PAGE
    gigapages = [(2, BASE, flags), (3, BASE, 0xCF), (0, 0, flags)]
    for entry, address, bits in gigapages[: rng.choice([2, 3, 3])]:
        at = offset + 8 * entry
        memory[at : at + 8] = (address >> 2 | bits).to_bytes(8, "little")


def handler(privilege: int) -> bytes:
    """Goes on at some other place of the code, so that a guest does not trap at one for ever."""
    csr, ret = ("mepc", "mret") if privilege == 3 else ("sepc", "sret")
    again = {0: "", 1: "li x29, 0x100; csrs sstatus, x29", 3: "li x29, 0x1800; csrs mstatus, x29"}[privilege]
    return assemble(
        f"""addi x30, x30, 0x2ae
        slli x31, x30, 49
        srli x31, x31, 49
        andi x31, x31, -2
        addi x29, x0, 1
        slli x29, x29, 31
        add x31, x31, x29
        csrw {csr}, x31
        {again}
        {ret}"""
    )


def random_case(rng: random.Random, memory: bytearray) -> Case:
    """Registers, satp and mstatus around the memory."""
    privilege = rng.choice([0, 1, 1, 3])
    words = {state.X + i: random_value(rng) for i in range(1, 32)}
    words |= {state.F + i: random_value(rng) for i in range(32)}
    for pointer in (state.PC, state.STVEC, state.MTVEC, state.SEPC, state.MEPC):
        words[pointer] = BASE + rng.choice(CODE_PAGES) * PAGE + rng.randrange(PAGE) & ~3
    if rng.random() < 0.8:
        root = (BASE >> 12) + rng.choice(TABLE_PAGES)
        if rng.random() < 0.8:
            map_gigapages(rng, memory, root, privilege)
        elif rng.random() < 0.2:
            root = rng.getrandbits(44)
        words[state.SATP] = rng.choice([8, 8, 8, 8, 8, 9, 10]) << 60 | rng.getrandbits(16) << 44 | root
    if rng.random() < 0.8:
        code = handler(privilege)
        memory[HANDLER : HANDLER + len(code)] = code
        words[state.MTVEC] = BASE + HANDLER
        words[state.STVEC] = BASE + HANDLER + ((1 << 30) if words.get(state.SATP) else 0)
    flags = rng.getrandbits(23) & ~spec.MSTATUS_MPP | rng.choice([0, 1, 3]) << spec.MSTATUS_MPP_SHIFT
    flags &= MSTATUS_WRITABLE & ~(0 if rng.random() < 0.3 else spec.MSTATUS_MPRV)
    words[state.MSTATUS] = flags | spec.MSTATUS_UXL_64 | spec.MSTATUS_SXL_64
    words[state.FRM] = rng.choice([0, 0, 1, 2, 3, 4, 5, 7])
    return Case(memory, words, privilege)


class Hart:
    """A vCPU with its RAM, loaded with cases; jit or reference."""

    def __init__(self, make: Callable[[GuardedRam], Any]) -> None:
        self.ram = GuardedRam(RAM_BYTES)
        self.engine = make(self.ram)
        self.vcpu = self.engine.create_vcpu(0, ecall_exits=True, instructions_per_tick=STEADY_CLOCK)
        self.words = self.vcpu.words

    def load(self, case: Case) -> None:
        self.engine.memory_written(BASE, RAM_BYTES)
        self.ram.buffer[:] = case.memory
        self.vcpu.reset(BASE, case.privilege, 0, 0)
        for index, value in case.words.items():
            self.words[index] = value
        if hasattr(self.vcpu, "float_written"):
            self.vcpu.float_written()
        self.vcpu.flush()

    def answer(self, left: Exit, kind: float, value: int) -> None:
        """What the machine does with an exit."""
        self.answer_on(self.vcpu, left, kind, value)

    @staticmethod
    def answer_on(vcpu: Vcpu, left: Exit, kind: float, value: int) -> None:
        """The same for another hart."""
        if left.reason == ExitReason.ECALL:
            vcpu.complete_ecall()
        elif left.reason in (ExitReason.MMIO_READ, ExitReason.MMIO_WRITE) and kind < 0.3:
            cause = 5 if left.reason == ExitReason.MMIO_READ else 7
            vcpu.raise_exception(cause, vcpu.words[state.FAULT_TVAL])
        elif left.reason == ExitReason.MMIO_READ:
            vcpu.complete_read(value)

    def state(self) -> list[int]:
        if hasattr(self.vcpu, "float_collect"):
            self.vcpu.float_collect()
        return [self.words[i] for i in ARCHITECTED]

    def close(self) -> None:
        self.engine.close()


class Noting(RamSurroundings):
    """Notes pages of instructions and tables, and pages that are written."""

    def __init__(self, inner: RamSurroundings) -> None:
        self.inner = inner
        self.__dict__.update(inner.__dict__)
        self.used: set[int] = set()
        self.fetched: set[int] = set()
        self.written: set[int] = set()
        self.marked: set[int] = set()

    def read64(self, address: int) -> int:
        self.used.add(address >> 12)
        return super().read64(address)

    def write(self, address: int, size_bytes: int, value: int) -> None:
        self.written |= {address >> 12, address + size_bytes - 1 >> 12}
        super().write(address, size_bytes, value)

    def cas64(self, address: int, old: int, new: int) -> bool:
        self.marked.add(address >> 12)
        if self.read(address, 8) != old:
            return False
        RamSurroundings.write(self, address, 8, new)
        return True

    def translation_changed(self) -> None:
        self.inner.translation_changed()

    def flush_translations(self, address: int | None, asid: int | None) -> None:
        self.inner.flush_translations(address, asid)

    def clear(self) -> None:
        """Forget what was noted."""
        for found in (self.used, self.fetched, self.written, self.marked):
            found.clear()

    @property
    def may_be_stale(self) -> bool:
        """Whether something was written that a hart may have kept: the engines may differ from here on."""
        return bool((self.used | self.fetched) & self.written or self.fetched & self.marked)


class _NotingHart(ReferenceHart):
    def fetch(self, pc: int) -> int:
        bits = super().fetch(pc)
        noting = self.memory
        assert isinstance(noting, Noting)
        noting.fetched |= {self.physical(va, FETCH) >> 12 for va in (pc, pc + (2 if bits & 3 == 3 else 0))}
        return bits


def note(vcpu: ReferenceVcpu) -> Noting:
    """Let a reference vCPU note; what it has noted."""
    noting = Noting(vcpu._hart.memory)  # type: ignore[arg-type]
    vcpu._h.surroundings = noting
    vcpu._hart = _NotingHart(vcpu._h, noting, vcpu._pages)
    return noting


def differences(one: Hart, other: Hart) -> list[str]:
    """Words and RAM in which two harts differ."""
    found = []
    for index, a, b in zip(ARCHITECTED, one.state(), other.state(), strict=True):
        if a != b:
            found.append(f"word {index} ({NAME_OF.get(index, '')}): {a:#x} {b:#x}")
    if one.ram.buffer != other.ram.buffer:
        pairs = enumerate(zip(one.ram.buffer, other.ram.buffer, strict=True))
        offsets = [i for i, (a, b) in pairs if a != b]
        found.append(f"RAM at offsets {[hex(o) for o in offsets[:8]]}")
    return found
