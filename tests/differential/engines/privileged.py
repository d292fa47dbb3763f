# SPDX-License-Identifier: Apache-2.0
"""Random programs of all privilege levels: CSR accesses, traps, returns, fences, interrupts, paging, PMP.

Nothing is kept sane: a program may send its traps anywhere and unmap itself. What it does is defined all the
same, and short. Operand registers (x8..x31) keep their values, mostly ones that mean something to a CSR;
results go to x0..x7.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.definition import COMPRESSED, INSTRUCTIONS
from innkeeper.spec import riscv
from tests.differential.engines.programs import CORNERS, random_word
from tests.unit.isa.riscv.bare_hart import encode

BASE = 0x8000_0000
RAM_BYTES = 1 << 17
ALIAS = 0x4000_0000
"""RAM for U-mode under the page table; at BASE it is S-mode's."""
ROOT, MIDDLE, LAST, CODE, DATA = (BASE + n * 4096 for n in (1, 2, 3, 8, 16))
CODE_WORDS = 256
WINDOW = 0x1000_0000
WINDOW_PAGES = 64
"""Virtual: pages with random PTEs. Physical: the UART, which is not there."""
HANDLER = BASE + 0x700
"""Goes on behind the instruction that trapped into M-mode; at +0x80 the same for S-mode."""
_HANDLERS = (
    (HANDLER, ("csrrs 1 0x341 0", "addi 1 1 4", "csrrw 0 0x341 1", "mret")),
    (HANDLER + 0x80, ("csrrs 1 0x141 0", "addi 1 1 4", "csrrw 0 0x141 1", "sret")),
)
_CSRS = sorted({
    number for name, number in vars(riscv).items() if name.startswith("CSR_") and isinstance(number, int)
} | {0x3A1, 0x3B1, 0x3B2, 0x3B3, 0xC03, 0x323, 0xB03})  # fmt: skip
_BUSY = [
    riscv.CSR_MSTATUS, riscv.CSR_SSTATUS, riscv.CSR_MEPC, riscv.CSR_SEPC, riscv.CSR_MIE, riscv.CSR_SIE,
    riscv.CSR_MIP, riscv.CSR_SIP, riscv.CSR_MIDELEG, riscv.CSR_MEDELEG, riscv.CSR_SATP, riscv.CSR_FCSR,
    riscv.CSR_FRM, riscv.CSR_MENVCFG, riscv.CSR_STIMECMP, riscv.CSR_MCOUNTEREN, riscv.CSR_MINSTRET,
    riscv.CSR_MCOUNTINHIBIT, riscv.CSR_TIME, riscv.CSR_PMPCFG0, riscv.CSR_PMPADDR0,
]  # fmt: skip
_ACCESSES = ("csrrw", "csrrs", "csrrc", "csrrwi", "csrrsi", "csrrci")
_SYSTEM = [
    "mret", "mret", "sret", "sret", "ecall", "ebreak", "wfi", "sfence.vma", "sinval.vma", "fence.i", "fence",
    "sfence.w.inval", "sfence.inval.ir", "wrs.nto", "cbo.zero", "cbo.inval", "cbo.clean", "cbo.flush",
]  # fmt: skip
_MEMORY = [n for n, d in INSTRUCTIONS.items() if d.extension == "A"] + [
    "lb", "lhu", "lw", "ld", "ld", "sb", "sh", "sw", "sd", "sd", "flw", "fld", "fsw", "fsd",
]  # fmt: skip
_PLAIN = [
    "addi", "add", "xor", "lui", "auipc", "jal", "beq", "bne", "jalr", "mul", "fadd.d", "fmul.s", "fdiv.d",
]  # fmt: skip


@dataclass
class PrivilegedCase:
    """RAM, and the words of the hart's state that do not start as reset leaves them."""

    ram: bytes
    words: dict[int, int]
    lines: int
    """Interrupt lines that are up after the first slice."""
    listing: list[str]


def _value(source: random.Random) -> int:
    """Something that a CSR, an address or a test of corners can use."""
    kind = source.randrange(10)
    code = CODE + 4 * source.randrange(CODE_WORDS)
    if kind < 3:
        return code if source.random() < 0.5 else code - BASE + ALIAS
    if kind == 3:
        return DATA + source.randrange(4096) - (source.choice([0, BASE - ALIAS]))
    if kind == 4:
        return WINDOW + source.randrange(WINDOW_PAGES) * 4096 + source.choice([0, 8, 4090, 4094])
    if kind == 5:
        mode = source.choice([0, 8, 8, 8, 9, 10, 1])
        return mode << 60 | source.choice([0, 1, 0xFFFF]) << 44 | ROOT >> 12
    if kind == 6:
        return source.choice([0x0F, 0x1F, 0x18, 0x8F, 0x19, 0x1F19]) | source.choice([0, 0x1F << 24])
    if kind == 7:
        return source.choice([BASE, CODE, DATA, ALIAS]) >> 2 | source.choice([0, 0x1FF, 0x3FF, 0x7FFF])
    return source.choice(CORNERS) if kind == 8 else source.getrandbits(source.choice([12, 23, 64]))


def _pte(source: random.Random) -> int:
    flags = source.choice([0xCF, 0xDF, 0xCF, 0xDF, 0xC7, 0xD7, 0x4B, 0x5B, 0x0F, 0x1F, 0xC1, 0xD9, 0])
    page = source.choice([DATA, DATA + 4096, CODE, 0x1000_0000]) if source.random() < 0.9 else LAST
    flags ^= (1 << source.randrange(8)) if source.random() < 0.2 else 0
    return page >> 12 << 10 | flags | (1 << source.randrange(54, 64) if source.random() < 0.03 else 0)


def _instruction(source: random.Random) -> tuple[int, int, str]:
    """Bits, size in bytes, name."""
    kind, low, high = source.random(), source.randrange(8), source.randrange(8, 32)
    if kind < 0.4:
        name = source.choice(_ACCESSES)
        number = source.choice(_CSRS if source.random() < 0.5 else _BUSY)
        number = source.randrange(4096) if source.random() < 0.05 else number
        operand = 0 if source.random() < 0.15 else high
        word = encode(name, rd=low, csr=number, **{"uimm" if name[-1] == "i" else "rs1": operand})
        return word, 4, f"{name} x{low}, {number:#x}, {operand}"
    if kind < 0.6:
        name = source.choice(_SYSTEM)
    elif kind < 0.85:
        name = source.choice(_MEMORY)
    elif kind < 0.97:
        name = source.choice(_PLAIN)
    else:
        name = source.choice(list(COMPRESSED))
        return random_word(source, COMPRESSED[name].encoding), 2, name
    return _fields(source, name, low, high), 4, name


def _fields(source: random.Random, name: str, low: int, high: int) -> int:
    """The instruction with its result in a low register and its operands in high ones, immediates small."""
    encoding = INSTRUCTIONS[name].encoding
    word = encode(name) if name == "ecall" else random_word(source, encoding)
    for field, value in (("rd", low), ("rs1", high), ("rs2", source.randrange(8, 32))):
        found = encoding.field(field)
        if found is not None and source.random() < 0.9:
            word = word & ~found.insert(31) | found.insert(value)
    immediate = encoding.field("imm")
    if immediate is not None and name not in ("lui", "auipc"):
        small = source.choice([0, 0, 4, 8, 8, 12, 16])
        word = word & ~immediate.insert(-2 if immediate.insert(-2) else 0) & ~immediate.insert(2) | (
            immediate.insert(small)
        )
    return word


def random_privileged(source: random.Random) -> PrivilegedCase:
    """One program, entered in its middle at any privilege."""
    ram = bytearray(RAM_BYTES)
    listing = []

    def put(address: int, value: int, size_bytes: int = 8) -> None:
        ram[address - BASE : address - BASE + size_bytes] = value.to_bytes(size_bytes, "little")

    put(ROOT + 8 * 2, BASE >> 12 << 10 | 0xCF)
    put(ROOT + 8 * 1, BASE >> 12 << 10 | 0xDF)
    put(ROOT, MIDDLE >> 12 << 10 | 1)
    put(MIDDLE + 8 * (WINDOW >> 21), LAST >> 12 << 10 | 1)
    for index in range(WINDOW_PAGES):
        put(LAST + 8 * index, _pte(source))
    at = CODE
    while at < CODE + 4 * CODE_WORDS:
        word, size_bytes, text = _instruction(source)
        put(at, word, size_bytes)
        listing.append(f"{at:#x} {text}")
        at += size_bytes
    for address, lines in _HANDLERS:
        for index, line in enumerate(lines):
            put(address + 4 * index, _assemble(line), 4)
    ram[DATA - BASE : DATA - BASE + 8192] = source.randbytes(8192)
    return PrivilegedCase(bytes(ram), _start(source), source.choice([0, 0, 0x200, 0x800, 0xA88]), listing)


def _assemble(line: str) -> int:
    name, *operands = line.split()
    numbers = [int(o, 0) for o in operands]
    if name == "addi":
        return encode(name, rd=numbers[0], rs1=numbers[1], imm=numbers[2])
    return encode(name, rd=numbers[0], csr=numbers[1], rs1=numbers[2]) if numbers else encode(name)


def _start(source: random.Random) -> dict[int, int]:
    privilege = source.choice([0, 1, 3, 3])
    paging = source.random() < 0.6
    words = {state.X + i: _value(source) for i in range(1, 32)}
    words |= {state.F + i: _value(source) for i in range(32)}
    shift = ALIAS - BASE if privilege == 0 and paging else 0
    words |= {
        state.PC: CODE + 4 * source.randrange(CODE_WORDS // 2) + shift,
        state.PRIV: privilege,
        state.SATP: (8 << 60 | ROOT >> 12) if paging else 0,
        state.MTVEC: HANDLER + source.choice([0, 0, 1]) if source.random() < 0.95 else _value(source) & ~2,
        state.STVEC: HANDLER + 0x80 if source.random() < 0.9 else _value(source) & ~2,
        state.MEPC: _value(source) & ~1,
        state.SEPC: _value(source) & ~1,
        state.MEDELEG: source.choice([0, 0xB1FF, source.getrandbits(16) & 0xB3FF]),
        state.MIDELEG: source.getrandbits(12) & 0x222,
        state.MIE: source.choice([0, source.getrandbits(12) & 0xAAA]),
        state.MIP: source.getrandbits(12) & 0x222,
        state.MCOUNTEREN: source.randrange(8),
        state.SCOUNTEREN: source.randrange(8),
        state.MENVCFG: source.getrandbits(64) & (0xA0000000000000C1),
        state.MSTATUS: riscv.MSTATUS_UXL_64 | riscv.MSTATUS_SXL_64 | source.getrandbits(23) & 0x7E67AA,
        state.STIMECMP: source.choice([0, source.randrange(400), (1 << 64) - 1]),
        state.MTIMECMP: source.choice([0, source.randrange(400), (1 << 64) - 1]),
        state.FFLAGS: source.randrange(32),
        state.FRM: source.randrange(8),
        state.PMPCFG: 0x1F,
        state.PMPADDR: (1 << 54) - 1,
        state.PMP_ACTIVE: 0,
    }
    return words
