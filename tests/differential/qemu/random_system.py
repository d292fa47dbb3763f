# SPDX-License-Identifier: Apache-2.0
"""Random bare-metal programs for `framework.h`: CSR accesses and traps in M-, S- and U-mode.

A program is a list of steps. A step changes what others may do, or tries some instructions in a mode and
records what became of the registers. Left out is what QEMU 10.0 does against the specification, and where
that leaves a choice; the masks and comments below say which.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from tests.differential.qemu.system import SystemProgram

STEPS = 110
ENVIRONMENT = 0x2000_0000_0000_00C1
"""menvcfg's bits but STCE and CBIE."""
REGISTERS = ("a0", "a1", "a2", "a3", "a4", "a5")
ALL = (1 << 64) - 1
STATUS = 0x8000_0000_007E_79A2
"""mstatus without MIE, and without VS, XS and what belongs to other options; UXL: see csr.S."""
MASKS = {
    "mstatus": STATUS, "sstatus": 0x8000_0000_000C_6122, "mscratch": ALL, "sscratch": ALL, "mtval": ALL,
    "stval": ALL, "mcause": ALL, "scause": ALL, "mepc": ALL - 1, "sepc": ALL - 1, "medeleg": 0xB3FF,
    "mideleg": 0x222, "mie": 0x222, "sie": 0x222, "mip": 0x222, "sip": 0x222, "mcounteren": 7,
    "scounteren": 7, "mcountinhibit": 5, "menvcfg": 0xA000_0000_0000_00C1, "senvcfg": 0xC1, "stimecmp": ALL,
    "fflags": 0x1F,
    "frm": 7, "fcsr": 0xFF, "mhartid": ALL, "mcycle": 0, "minstret": 0, "cycle": 0, "time": 0, "instret": 0,
    "misa": 1 << 63 | 0x14112D, "mvendorid": 0, "mconfigptr": ALL, "satp": ALL, "mtvec": ALL, "stvec": ALL,
    "pmpcfg0": 0, "pmpaddr0": 0,
}  # fmt: skip
"""What is recorded of a CSR."""
_GUARDED = ("satp", "mtvec", "stvec", "pmpcfg0", "pmpaddr0", "misa")
"""Only read: programs depend on them. Others of `programs` write them, but misa, which QEMU lets change."""
_ABSENT = [
    0x000, 0x004, 0x005, 0x008, 0x00A, 0x015, 0x017, 0x040, 0x05C, 0x101, 0x102, 0x103, 0x109, 0x10C, 0x145,
    0x15D, 0x1A0, 0x1BF, 0x200, 0x204, 0x280, 0x2A0, 0x307, 0x308, 0x30C, 0x318, 0x345, 0x34A, 0x34B, 0x350,
    0x3A1, 0x3A3, 0x3F0, 0x480, 0x5A9, 0x600, 0x604, 0x680, 0x6A0, 0x747, 0x800, 0x8FF, 0xA00, 0xBC0, 0xBFF,
    0xC20, 0xC21, 0xC22, 0xC80, 0xC83, 0xCC0, 0xCFF, 0xD00, 0xDBF, 0xE00, 0xEFF, 0xF00, 0xF10, 0xF16, 0xFFF,
]  # fmt: skip
"""Addresses at which nothing is, in every block of them."""
_VALUES = [
    *(0, 1, 2, 7, 0x1F, 0x22, 0x80, 0x100, 0x222, 0x1800, 0x2000, 0x6000, 0x40000, 0x80000, 0x100000),
    *(0x200000, 0x400000, 0x7FFFFFFF, 0x80000000, 0xB3FF, 1 << 63, 1 << 61, 5 << 61, ALL, ALL - 1),
    0xA5A5A5A5DEADBEEE,
]
_FORMS = ("csrrw", "csrrs", "csrrc", "csrrwi", "csrrsi", "csrrci")
_SRET = "sret"
_OTHERS = [
    *("ebreak", "c.ebreak", _SRET, "sfence.vma", "sfence.vma a0", "sfence.vma a0, a1", "fence.i", "fence"),
    *(".half 0", ".word 0xffffffff", ".word 0x0000707f", ".insn r 0x73, 0, 0x0b, x0, a1, x0"),
    *("fadd.d f1, f2, f3", "fcvt.d.l f1, a0", "fmv.x.d a1, f1", "csrr a1, fcsr"),
]
_MEMORY = ["lb", "lhu", "lw", "ld", "sb", "sh", "sw", "sd", "fld", "fsw"]
_ATOMIC = [
    f"amo{operation}.{size}"
    for operation in ("swap", "add", "xor", "and", "or", "min", "max", "minu", "maxu")
    for size in "wd"
]
_RESERVED = [
    "lr.{0} {1}, (a5); sc.{0} {1}, a1, (a5)",
    "lr.{0} {1}, (a5); sc.{0} a1, a0, (a5); sc.{0} {1}, a1, (a5)",
    "lr.{0} {1}, (a5); s{0} a1, (a5); sc.{0} {1}, a0, (a5)",
    "lr.{0} {1}, (a5); s{0} {1}, (a5); sc.{0} {1}, a0, (a5)",
    "lr.{0} {1}, (a5); s{0} a1, 8(a5); sc.{0} {1}, a0, (a5)",
    "lr.{0} {1}, (a5); amoadd.{0} {1}, a2, (a5); sc.{0} {1}, a0, (a5)",
    "lr.{0}.aq {1}, (a5); fence; sc.{0}.rl {1}, a0, (a5); l{0} a1, (a5)",
]
PAGES = 16
WINDOW = 0x40_0000
"""Virtual address of PAGES pages with random permissions; physically there is nothing."""


class _Writer:
    """Builds one program's text."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.main: list[str] = []
        self.snippets: list[str] = []
        self.paging = source.random() < 0.6
        self.interrupts = source.choice([0x22, 0x200])
        """QEMU takes pending interrupts in another order than SEI, SSI, STI: never SEI with another."""
        self.stce = source.choice([0, 1 << 63])
        """STCE does not change: QEMU 10.0 then leaves STIP as it was."""

    def value(self) -> int:
        chosen = self.source.choice(_VALUES)
        return chosen if self.source.random() < 0.8 else self.source.getrandbits(64)

    def load(self, register: str, value: int) -> None:
        self.main.append(f"    li {register}, {value:#x}")

    def safe(self, csr: str, value: int) -> int:
        """The value without what would make the program depend on time, or on interrupts in M-mode."""
        if csr in ("mie", "sie", "mip", "sip"):
            return value & self.interrupts
        if csr == "stimecmp":
            return value & 1 << 63 or 0
        if csr in ("mstatus", "sstatus"):  # without UXL: QEMU lets it become 3, and then means it
            return value & ~(1 << 3 | 1 << 17 | 0xF << 32)
        if csr == "medeleg":
            return value & ~(1 << 9)
        return value

    def csr_access(self) -> tuple[str, str | None, int]:
        """One instruction, its destination register, what is recorded of it. It may need a value in a5."""
        source = self.source
        form = source.choice(_FORMS)
        rd = source.choice([*REGISTERS[:5], "zero"])
        if source.random() < 0.15:
            number = source.choice(_ABSENT)
            operand = source.choice(["0", "1", "31"] if form[-1] == "i" else ["zero", "a5"])
            return f"{form} {rd}, {number:#x}, {operand}", rd, ALL
        csr = source.choice(list(MASKS))
        mask = MASKS[csr]
        if csr == "menvcfg":  # without CBIE, of which one value is reserved
            keep = self.stce if form.startswith("csrrw") else 0
            self.load("a5", self.value() & ENVIRONMENT | keep)
            return f"{form.rstrip('i')} {rd}, menvcfg, {'zero' if form == 'csrrsi' else 'a5'}", rd, mask
        if csr == "stimecmp" and not self.stce:  # a write makes QEMU set or clear STIP without STCE too
            return f"csrrs {rd}, stimecmp, zero", rd, mask
        if csr == "sip" and self.stce:  # in M-mode, QEMU then shows no STIP
            mask &= ~0x20
        if csr in _GUARDED:
            form = source.choice(["csrrs", "csrrc", "csrrsi"])
            operand = "0" if form[-1] == "i" else "zero"
        elif form[-1] == "i":
            operand = str(self.safe(csr, source.choice([0, 0, source.randrange(32)])))
        elif source.random() < 0.25:
            operand = "zero"
        else:
            operand = "a5"
            self.load("a5", self.safe(csr, self.value()))
        return f"{form} {rd}, {csr}, {operand}", rd, mask

    def record(self, register: str | None, mask: int) -> None:
        if register in (None, "zero"):
            return
        if mask != ALL:
            self.main.append(f"    li s7, {mask:#x}; and {register}, {register}, s7")
        self.main.append(f"    RECORD({register})")

    def attempt(self, instructions: str) -> None:
        """Run them in some mode."""
        mode = self.source.choice(["M", "S", "S", "U", "U"])
        if mode == "M":
            self.main.append(f"    TRY({instructions})")
            return
        label = f"snippet{len(self.snippets)}"
        self.snippets.append(f"    .balign 4\n{label}: {instructions}; ecall")
        go = "GO_USER" if mode == "U" and self.paging else f"GO_MODE_{mode}"
        self.main.append(f"    {go}({label})")

    def step_csr(self) -> None:
        instruction, rd, mask = self.csr_access()
        self.attempt(instruction)
        self.record(rd, mask)

    def step_setting(self) -> None:
        """Something that decides what others may do."""
        source = self.source
        kind = source.randrange(8)
        if kind == 0:
            self.main.append(f"    WRITE(mcounteren, {source.randrange(8)})")
        elif kind == 1:
            self.main.append(f"    WRITE(scounteren, {source.randrange(8)})")
        elif kind == 2:
            self.main.append(f"    WRITE(menvcfg, {source.getrandbits(64) & ENVIRONMENT | self.stce:#x})")
        elif kind == 3:
            delegated = source.choice([0, 0xB1FF, source.getrandbits(16) & 0xB1FF])
            self.main.append(f"    WRITE(medeleg, {delegated:#x})")
        elif kind == 4:
            self.main.append(f"    WRITE(mideleg, {source.getrandbits(12) & 0x222:#x})")
        elif kind == 5:
            self.main.append(f"    WRITE(mie, {source.getrandbits(12) & self.interrupts:#x})")
            self.main.append(f"    WRITE(mip, {source.getrandbits(12) & self.interrupts:#x})")
        else:
            self.main.append(f"    CLEAR(mstatus, {source.getrandbits(23) & 0x7C61A2:#x})")
            self.main.append(f"    SET(mstatus, {source.getrandbits(23) & 0x7C61A2:#x})")

    def step_other(self) -> None:
        instruction = self.source.choice(_OTHERS)
        if instruction == _SRET:
            label = f"snippet{len(self.snippets)}"
            self.snippets.append(f"    .balign 4\n{label}: ecall")
            self.main.append(f"    la a5, {label}")
            if self.paging and self.source.random() < 0.7:
                self.main.append("    li s9, RAM - USER_ALIAS; sub a5, a5, s9")
            self.main.append("    csrw sepc, a5")
        self.attempt(instruction)

    def step_memory(self) -> None:
        """One access, or LR and SC, mostly to a page with random permissions."""
        source = self.source
        atomic = source.random() < 0.5
        # QEMU takes a misaligned AMO for a load, and does not look at the address of an SC that fails anyway.
        offset = source.choice([0, 8, 16, 0x100] if atomic else [0, 8, 16, 0x100, 1, 4, 0xFFC, 0xFFE])
        address = WINDOW + source.randrange(PAGES) * 0x1000 + offset
        if not self.paging or source.random() < 0.2:
            address = 0x200000 + offset
        self.load("a5", address)
        register = source.choice(REGISTERS[:5])
        name = source.choice(_ATOMIC if atomic else _MEMORY)
        if atomic and source.random() < 0.5:
            self.attempt(source.choice(_RESERVED).format(source.choice("wd"), register))
        elif atomic:
            self.attempt(f"{name} {register}, a0, (a5)")
        else:
            self.attempt(f"{name} {'f1' if name[0] == 'f' else register}, 0(a5)")
        self.record(register, ALL)

    def step_fetch(self) -> None:
        source = self.source
        address = WINDOW + source.randrange(PAGES) * 0x1000 + source.choice([0, 0x800, 0xFFC])
        self.load("a5", address if self.paging else 0x200000 + source.choice([0, 2, 4]))
        self.main.append(f"    GO_AT({source.choice(['MODE_S', 'MODE_U'])}, a5)")


def _pte(source: random.Random, index: int) -> str:
    flags = source.choice([0xCF, 0xDF, 0xC7, 0xD7, 0x4B, 0x5B, 0x0F, 0x1F, 0xC1, 0xD9, 0xC3, 0xD3, 0, 0xC5])
    if source.random() < 0.2:
        flags ^= 1 << source.randrange(8)
    return f"    LEAF_OF(level0, {index}, {source.choice(['page0', 'page1', 'page2'])}, {flags:#x})"


def _tables(source: random.Random) -> list[str]:
    top = ["    VM_BASIC(level2)", "    LINK(level2, 0, level1)", f"    LINK(level1, {WINDOW >> 21}, level0)"]
    return [*top, *(_pte(source, index) for index in range(PAGES))]


def random_program(seed: int, folder: Path) -> SystemProgram:
    """The program of a seed, its source written into `folder`."""
    source = random.Random(seed)
    writer = _Writer(source)
    steps: list[tuple[Callable[[], None], int]] = [
        (writer.step_csr, 12), (writer.step_setting, 4), (writer.step_other, 3), (writer.step_memory, 4),
        (writer.step_fetch, 1),
    ]  # fmt: skip
    for register in REGISTERS:
        writer.load(register, writer.value())
    for step in source.choices([s for s, _ in steps], [weight for _, weight in steps], k=STEPS):
        step()
    text = "\n".join([
        f"/* Seed {seed} */", *_PROLOGUE, *(_tables(source) if writer.paging else []),
        "    sfence.vma", f"    WRITE(menvcfg, {writer.stce:#x})", *writer.main,
        "    csrw satp, zero", "    FINISH", *writer.snippets, *_EPILOGUE,
    ])  # fmt: skip
    path = folder / f"random_{seed}.S"
    path.write_text(text + "\n")
    return SystemProgram(path.stem, path)


_PROLOGUE = [
    '#include "framework.h"',
    "#define GO_MODE_S(label) GO(MODE_S, label)", "#define GO_MODE_U(label) GO(MODE_U, label)",
    "    .option norvc", "main:", "    li a0, -1", "    li a1, CLINT_MTIMECMP", "    sd a0, 0(a1)",
    "    csrw stimecmp, a0", "    .option rvc",
]  # fmt: skip
_EPILOGUE = [
    "    .balign 4096", "page0: .rept 512; ecall; nop; .endr", "page1: .rept 1024; ecall; .endr",
    "page2: .rept 512; .dword 0x0123456789abcdef; .endr", "    .section .bss",
    "    TABLE(level0)", "    TABLE(level1)", "    TABLE(level2)",
]  # fmt: skip
