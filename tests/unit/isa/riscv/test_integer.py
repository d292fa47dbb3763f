# SPDX-License-Identifier: Apache-2.0
"""What the integer instructions compute, against models written another way, in plain Python integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.ir.value import Bits, Operand, Value, constant
from innkeeper.isa.riscv.assembler import assemble
from innkeeper.isa.riscv.decoder import decode
from innkeeper.isa.riscv.hart import Hart

M64 = (1 << 64) - 1
CORNERS = (0, 1, 2, 63, 64, 0x80, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 63, (1 << 63) - 1, M64, M64 - 1)
words = st.one_of(st.sampled_from(CORNERS), st.integers(0, M64))


class Registers(dict[int, int]):
    """x registers, x0 included, of a hart that does nothing but compute."""

    def __getitem__(self, register: int) -> Any:
        return Bits(self.get(register, 0), 64)

    def __setitem__(self, register: int, value: Operand) -> None:
        if register:
            known = constant(value, 64)
            assert isinstance(known, Bits)
            super().__setitem__(register, known.value)


class ComputingHart:
    """A hart without memory, at 0x1000."""

    def __init__(self) -> None:
        self.x = Registers()
        self.pc = Bits(0x1000, 64)
        self.next_pc = Bits(0x1004, 64)
        self.target: int | None = None

    def jump(self, target: Value) -> None:
        self.target = cast(Bits, target).value

    def branch(self, condition: Value, target: Value) -> None:
        if cast(Bits, condition).value:
            self.jump(target)


def run(text: str, a: int = 0, b: int = 0) -> ComputingHart:
    """Execute one instruction with a0 = a and a1 = b."""
    decoded = decode(int.from_bytes(assemble(text, 0x1000), "little"))
    assert decoded is not None
    hart = ComputingHart()
    hart.x[10], hart.x[11] = a, b
    arguments: list[object] = []
    for name in decoded.instruction.operands:
        value = decoded.operands[name]
        arguments.append(value if name in ("rd", "rs1", "rs2") else Bits(value, 64))
    decoded.instruction.execute(cast(Hart, hart), *arguments)
    return hart


def result(text: str, a: int = 0, b: int = 0) -> int:
    return run(text, a, b).x[12].value  # type: ignore[no-any-return]


def s64(value: int) -> int:
    value &= M64
    return value - (1 << 64) if value >> 63 else value


def s32(value: int) -> int:
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value


def u32(value: int) -> int:
    return value & 0xFFFF_FFFF


def divide(a: int, b: int, *, bits: int) -> tuple[int, int]:
    """Quotient and remainder as the table in the M chapter has them."""
    if b == 0:
        return -1, a
    if a == -(1 << (bits - 1)) and b == -1:
        return a, 0
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient, a - quotient * b


def carryless(a: int, b: int) -> int:
    product = 0
    for bit in range(64):
        if b >> bit & 1:
            product ^= a << bit
    return product


def rotate_right(value: int, amount: int, bits: int) -> int:
    text = f"{value & (1 << bits) - 1:0{bits}b}"
    amount %= bits
    return int(text[bits - amount :] + text[: bits - amount], 2)


Model = Callable[[int, int], int]
MODELS: dict[str, Model] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "sll": lambda a, b: a << b % 64,
    "slt": lambda a, b: s64(a) < s64(b),
    "sltu": lambda a, b: a < b,
    "xor": lambda a, b: a ^ b,
    "srl": lambda a, b: a >> b % 64,
    "sra": lambda a, b: s64(a) >> b % 64,
    "or": lambda a, b: a | b,
    "and": lambda a, b: a & b,
    "addw": lambda a, b: s32(a + b),
    "subw": lambda a, b: s32(a - b),
    "sllw": lambda a, b: s32(a << b % 32),
    "srlw": lambda a, b: s32(u32(a) >> b % 32),
    "sraw": lambda a, b: s32(a) >> b % 32,
    "mul": lambda a, b: a * b,
    "mulh": lambda a, b: s64(a) * s64(b) >> 64,
    "mulhsu": lambda a, b: s64(a) * b >> 64,
    "mulhu": lambda a, b: a * b >> 64,
    "mulw": lambda a, b: s32(a * b),
    "div": lambda a, b: divide(s64(a), s64(b), bits=64)[0],
    "rem": lambda a, b: divide(s64(a), s64(b), bits=64)[1],
    "divu": lambda a, b: a // b if b else M64,
    "remu": lambda a, b: a % b if b else a,
    "divw": lambda a, b: divide(s32(a), s32(b), bits=32)[0],
    "remw": lambda a, b: divide(s32(a), s32(b), bits=32)[1],
    "divuw": lambda a, b: s32(u32(a) // u32(b)) if u32(b) else -1,
    "remuw": lambda a, b: s32(u32(a) % u32(b)) if u32(b) else s32(a),
    "sh1add": lambda a, b: 2 * a + b,
    "sh2add": lambda a, b: 4 * a + b,
    "sh3add": lambda a, b: 8 * a + b,
    "add.uw": lambda a, b: u32(a) + b,
    "sh1add.uw": lambda a, b: 2 * u32(a) + b,
    "sh2add.uw": lambda a, b: 4 * u32(a) + b,
    "sh3add.uw": lambda a, b: 8 * u32(a) + b,
    "andn": lambda a, b: a & (M64 - b),
    "orn": lambda a, b: a | (M64 - b),
    "xnor": lambda a, b: M64 - (a ^ b),
    "min": lambda a, b: min(s64(a), s64(b)),
    "max": lambda a, b: max(s64(a), s64(b)),
    "minu": min,
    "maxu": max,
    "rol": lambda a, b: rotate_right(a, -b, 64),
    "ror": lambda a, b: rotate_right(a, b, 64),
    "rolw": lambda a, b: s32(rotate_right(a, -b, 32)),
    "rorw": lambda a, b: s32(rotate_right(a, b, 32)),
    "bclr": lambda a, b: a & (M64 - 2 ** (b % 64)),
    "bset": lambda a, b: a | 2 ** (b % 64),
    "binv": lambda a, b: a ^ 2 ** (b % 64),
    "bext": lambda a, b: a // 2 ** (b % 64) % 2,
    "clmul": carryless,
    "clmulh": lambda a, b: carryless(a, b) >> 64,
    "clmulr": lambda a, b: carryless(a, b) >> 63,
    "czero.eqz": lambda a, b: a if b else 0,
    "czero.nez": lambda a, b: 0 if b else a,
}
IMMEDIATE: dict[str, Model] = {
    "addi": MODELS["add"],
    "slti": MODELS["slt"],
    "sltiu": MODELS["sltu"],
    "xori": MODELS["xor"],
    "ori": MODELS["or"],
    "andi": MODELS["and"],
    "addiw": MODELS["addw"],
}
SHIFTS: dict[str, tuple[int, Model]] = {
    "slli": (64, MODELS["sll"]),
    "srli": (64, MODELS["srl"]),
    "srai": (64, MODELS["sra"]),
    "slliw": (32, MODELS["sllw"]),
    "srliw": (32, MODELS["srlw"]),
    "sraiw": (32, MODELS["sraw"]),
    "rori": (64, MODELS["ror"]),
    "roriw": (32, MODELS["rorw"]),
    "slli.uw": (64, lambda a, n: u32(a) << n),
    "bclri": (64, MODELS["bclr"]),
    "bseti": (64, MODELS["bset"]),
    "binvi": (64, MODELS["binv"]),
    "bexti": (64, MODELS["bext"]),
}
UNARY: dict[str, Callable[[int], int]] = {
    "clz": lambda a: 64 - len(f"{a:b}".lstrip("0")),
    "clzw": lambda a: 32 - len(f"{u32(a):b}".lstrip("0")),
    "ctz": lambda a: len(f"{a:064b}") - len(f"{a:064b}".rstrip("0")),
    "ctzw": lambda a: 32 - len(f"{u32(a):032b}".rstrip("0")),
    "cpop": lambda a: f"{a:b}".count("1"),
    "cpopw": lambda a: f"{u32(a):b}".count("1"),
    "sext.b": lambda a: (a & 0x7F) - (a & 0x80),
    "sext.h": lambda a: (a & 0x7FFF) - (a & 0x8000),
    "zext.h": lambda a: a % 65536,
    "orc.b": lambda a: int.from_bytes(bytes(255 if b else 0 for b in a.to_bytes(8, "big")), "big"),
    "rev8": lambda a: int.from_bytes(a.to_bytes(8, "big"), "little"),
}
BRANCHES: dict[str, Callable[[int, int], bool]] = {
    "beq": lambda a, b: a == b,
    "bne": lambda a, b: a != b,
    "blt": lambda a, b: s64(a) < s64(b),
    "bge": lambda a, b: s64(a) >= s64(b),
    "bltu": lambda a, b: a < b,
    "bgeu": lambda a, b: a >= b,
}


@given(a=words, b=words)
@pytest.mark.parametrize("name", MODELS)
def test_two_registers(name: str, a: int, b: int) -> None:
    assert result(f"{name} a2, a0, a1", a, b) == MODELS[name](a, b) & M64


@pytest.mark.parametrize("name", MODELS)
def test_two_registers_at_the_corners(name: str) -> None:
    for a in CORNERS:
        for b in CORNERS:
            assert result(f"{name} a2, a0, a1", a, b) == MODELS[name](a, b) & M64, (hex(a), hex(b))


@given(a=words, b=st.integers(-2048, 2047))
@pytest.mark.parametrize("name", IMMEDIATE)
def test_immediate(name: str, a: int, b: int) -> None:
    assert result(f"{name} a2, a0, {b}", a) == IMMEDIATE[name](a, b & M64) & M64


@given(a=words)
@pytest.mark.parametrize("name", SHIFTS)
def test_constant_amount(name: str, a: int) -> None:
    width, model = SHIFTS[name]
    for amount in range(width):
        assert result(f"{name} a2, a0, {amount}", a) == model(a, amount) & M64


@given(a=words)
@pytest.mark.parametrize("name", UNARY)
def test_one_register(name: str, a: int) -> None:
    assert result(f"{name} a2, a0", a) == UNARY[name](a) & M64


def test_upper_immediates() -> None:
    assert result("lui a2, 0x80000") == 0xFFFF_FFFF_8000_0000
    assert result("lui a2, 0x12345") == 0x12345000
    assert result("auipc a2, 0xfffff") == 0
    assert result("auipc a2, 1") == 0x2000


@given(a=words, b=words)
@pytest.mark.parametrize("name", BRANCHES)
def test_branch(name: str, a: int, b: int) -> None:
    taken = run(f"{name} a0, a1, .-16", a, b).target
    assert taken == (0xFF0 if BRANCHES[name](a, b) else None)


def test_jumps() -> None:
    hart = run("jal a2, .+4096")
    assert (hart.target, hart.x[12].value) == (0x2000, 0x1004)
    hart = run("jalr a2, -1(a0)", 0x8000)
    assert (hart.target, hart.x[12].value) == (0x7FFE, 0x1004)
    # rd and rs1 may be the same register: the target is the old value.
    hart = run("jalr a0, 0(a0)", 0x8000)
    assert (hart.target, hart.x[10].value) == (0x8000, 0x1004)
    assert run("jal zero, .+8").x[0].value == 0


def test_destination_may_be_a_source() -> None:
    assert run("sub a0, a1, a0", 3, 10).x[10].value == 7
    assert run("czero.eqz a0, a1, a0", 3, 10).x[10].value == 10


def test_every_computing_instruction_has_a_model() -> None:
    from innkeeper.isa.riscv.definition import INSTRUCTIONS

    ours = {"I", "M", "Zba", "Zbb", "Zbc", "Zbs", "Zicond"}
    modelled = {*MODELS, *IMMEDIATE, *SHIFTS, *UNARY, *BRANCHES, "lui", "auipc", "jal", "jalr"}
    others = {"lb", "lh", "lw", "ld", "lbu", "lhu", "lwu", "sb", "sh", "sw", "sd", "fence", "ecall", "ebreak"}
    assert {n for n, d in INSTRUCTIONS.items() if d.extension in ours} - others == modelled
