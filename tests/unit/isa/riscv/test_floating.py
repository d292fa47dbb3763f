# SPDX-License-Identifier: Apache-2.0
"""The F and D definitions: boxing, signs, NaNs and zeros. The arithmetic itself is tested in test_ieee754."""

from __future__ import annotations

import struct

import pytest

import innkeeper.isa.riscv.instructions  # noqa: F401  (registers all definitions)
from innkeeper.engines.reference.floating import FloatingOperations, number_of
from innkeeper.ir.value import Bits, Value
from innkeeper.isa.riscv.decoder import decode
from innkeeper.isa.riscv.definition import INSTRUCTIONS
from innkeeper.isa.riscv.ieee754 import NV, NX
from innkeeper.isa.riscv.state import FFLAGS, FRM, HART_WORDS

BOX = 0xFFFF_FFFF_0000_0000
M64 = (1 << 64) - 1
NAN = {"s": 0x7FC0_0000, "d": 0x7FF8_0000_0000_0000}
SNAN = {"s": 0x7F80_0001, "d": 0x7FF0_0000_0000_0001}
INF = {"s": 0x7F80_0000, "d": 0x7FF0_0000_0000_0000}
SIGN = {"s": 1 << 31, "d": 1 << 63}


class Hart(FloatingOperations):
    """The registers and a little memory, by address from 0, around the reference engine's arithmetic."""

    def __init__(self) -> None:
        self.words = memoryview(bytearray(8 * HART_WORDS)).cast("Q")
        self.x: dict[int, Value] = {i: Bits(0, 64) for i in range(32)}
        self.f: dict[int, Value] = {i: Bits(0, 64) for i in range(32)}
        self.memory = bytearray(64)

    def load(self, address: Value, width: int) -> Value:
        at = number_of(address)
        return Bits(int.from_bytes(self.memory[at : at + width // 8], "little"), width)

    def store(self, address: Value, value: Value) -> None:
        at = number_of(address)
        self.memory[at : at + value.width // 8] = number_of(value).to_bytes(value.width // 8, "little")


def raw(letter: str, value: float | int) -> int:
    """Register contents: a float in the format, boxed; an int is the format's bits."""
    if isinstance(value, float):
        value = int.from_bytes(struct.pack("<f" if letter == "s" else "<d", value), "little")
    return value | BOX if letter == "s" else value


def run(name: str, *operands: int, rm: int = 0, frm: int = 0) -> tuple[int, int]:
    """Result and flags of an instruction whose sources, f or x registers 1 to 3, hold `operands`."""
    hart = Hart()
    hart.words[FRM] = frm
    for register, operand in enumerate(operands, 1):
        hart.f[register] = hart.x[register] = Bits(operand, 64)
    fields = {"rd": 4, "rs1": 1, "rs2": 2, "rs3": 3, "rm": rm}
    instruction = INSTRUCTIONS[name]
    instruction.execute(hart, *(fields[o] for o in instruction.operands))
    result = (hart.f if " frd" in instruction.syntax else hart.x)[4]
    assert result.width == 64
    return number_of(result), hart.words[FFLAGS]


def test_every_instruction_is_found_by_its_bits() -> None:
    floating = [i for i in INSTRUCTIONS.values() if i.extension in ("F", "D")]
    assert [sum(i.extension == e for i in floating) for e in ("F", "D")] == [30, 32]
    for instruction in floating:
        found = decode(instruction.encoding.match)
        assert found is not None and found.instruction is instruction


# Expected words from the tables of the manual's instruction set listings.
@pytest.mark.parametrize(
    ("word", "name"),
    [
        (0x00C5F553, "fadd.s"),
        (0x02C5F553, "fadd.d"),
        (0x5A05F553, "fsqrt.d"),
        (0x6AC5F543, "fmadd.d"),
        (0x68C5F54B, "fnmsub.s"),
        (0x68C5F54F, "fnmadd.s"),
        (0xC235F553, "fcvt.lu.d"),
        (0xD015F553, "fcvt.s.wu"),
        (0x4015F553, "fcvt.s.d"),
        (0x42058553, "fcvt.d.s"),
        (0xE0058553, "fmv.x.w"),
        (0xF2058553, "fmv.d.x"),
        (0xE2059553, "fclass.d"),
        (0xA2C5A553, "feq.d"),
        (0x00C5D553, None),  # fadd.s with rm 5
        (0x06C5F553, None),  # fadd.q
        (0x4005F553, None),  # fcvt.s.s
    ],
)
def test_encodings(word: int, name: str | None) -> None:
    found = decode(word)
    assert (found and found.instruction.name) == name


def test_unboxed_single_reads_as_canonical_nan() -> None:
    one, broken = raw("s", 1.0), raw("s", 1.0) ^ 1 << 63
    nan = NAN["s"] | BOX
    assert run("fadd.s", one, one) == (raw("s", 2.0), 0)
    assert run("fadd.s", one, broken) == run("fsqrt.s", 0x3F80_0000) == (nan, 0)
    assert run("fsgnj.s", broken, raw("s", -1.0)) == (nan | 1 << 31, 0)
    assert run("fsgnj.s", one, SIGN["s"]) == (one, 0)
    assert run("fmin.s", broken, one) == (one, 0)
    assert run("fclass.s", SNAN["s"]) == (1 << 9, 0)
    assert run("fcvt.d.s", 0x3F80_0000) == (NAN["d"], 0)
    assert run("fcvt.w.s", 0x3F80_0000) == (0x7FFF_FFFF, NV)


def test_moves_take_and_give_raw_bits() -> None:
    assert run("fmv.x.w", 0x1234_5678_9ABC_DEF0) == (0xFFFF_FFFF_9ABC_DEF0, 0)
    assert run("fmv.x.d", 0x9234_5678_9ABC_DEF0) == (0x9234_5678_9ABC_DEF0, 0)
    assert run("fmv.w.x", 0x1234_5678_7F80_0001) == (0xFFFF_FFFF_7F80_0001, 0)
    assert run("fmv.d.x", SNAN["d"]) == (SNAN["d"], 0)


def test_loads_and_stores() -> None:
    hart = Hart()
    hart.memory[8:16] = bytes(range(0x81, 0x89))
    hart.x[1], minus_four = Bits(12, 64), Bits(-4, 64)
    INSTRUCTIONS["flw"].execute(hart, rd=2, rs1=1, imm=minus_four)
    INSTRUCTIONS["fld"].execute(hart, rd=3, rs1=1, imm=minus_four)
    assert number_of(hart.f[2]) == 0xFFFF_FFFF_8483_8281
    assert number_of(hart.f[3]) == 0x8887_8685_8483_8281
    INSTRUCTIONS["fsw"].execute(hart, rs1=1, rs2=3, imm=Bits(20, 64))  # unboxed: its low bits as they are
    INSTRUCTIONS["fsd"].execute(hart, rs1=1, rs2=3, imm=Bits(28, 64))
    assert hart.memory[32:40] == bytes([0x81, 0x82, 0x83, 0x84, 0, 0, 0, 0])
    assert hart.memory[40:48] == bytes(range(0x81, 0x89))


@pytest.mark.parametrize("p", ["s", "d"])
def test_minimum_and_maximum(p: str) -> None:
    zero, minus_zero, nan = raw(p, 0.0), raw(p, -0.0), raw(p, NAN[p])
    for low, high in ((-2.0, -1.0), (-1.0, 1.0), (1.0, 2.0), (-0.0, 0.0), (1.0, float("inf"))):
        small, large = raw(p, low), raw(p, high)
        for pair in ((small, large), (large, small)):
            assert run(f"fmin.{p}", *pair) == (small, 0)
            assert run(f"fmax.{p}", *pair) == (large, 0)
    for name in (f"fmin.{p}", f"fmax.{p}"):
        assert run(name, minus_zero, minus_zero) == (minus_zero, 0)
        for quiet in (NAN[p], NAN[p] | SIGN[p] | 7):
            assert run(name, zero, raw(p, quiet)) == run(name, raw(p, quiet), zero) == (zero, 0)
            assert run(name, raw(p, quiet), raw(p, quiet)) == (nan, 0)
        for signalling in (SNAN[p], SNAN[p] | SIGN[p], NAN[p] - 1):
            assert run(name, zero, raw(p, signalling)) == run(name, raw(p, signalling), zero) == (zero, NV)
            assert run(name, raw(p, signalling), nan) == (nan, NV)


@pytest.mark.parametrize("p", ["s", "d"])
def test_sign_injection(p: str) -> None:
    one, minus = raw(p, 1.0), raw(p, -1.0)
    table = {"fsgnj": (one, minus, one, minus), "fsgnjn": (minus, one, minus, one)}
    table["fsgnjx"] = (one, minus, minus, one)
    for name, expected in table.items():
        pairs = ((one, one), (one, minus), (minus, one), (minus, minus))
        assert tuple(run(f"{name}.{p}", *pair) for pair in pairs) == tuple((e, 0) for e in expected)
    assert run(f"fsgnjn.{p}", raw(p, SNAN[p]), one) == (raw(p, SNAN[p] | SIGN[p]), 0)


@pytest.mark.parametrize("p", ["s", "d"])
def test_classification(p: str) -> None:
    smallest_normal = INF[p] & -INF[p]
    positive = [(0, 4), (1, 5), (smallest_normal - 1, 5), (smallest_normal, 6), (INF[p] - 1, 6), (INF[p], 7)]
    for bits, number in positive:
        assert run(f"fclass.{p}", raw(p, bits)) == (1 << number, 0)
        assert run(f"fclass.{p}", raw(p, bits | SIGN[p])) == (1 << 7 - number, 0)
    for sign in (0, SIGN[p]):
        assert run(f"fclass.{p}", raw(p, SNAN[p] | sign)) == run(f"fclass.{p}", raw(p, NAN[p] - 1 | sign))
        assert run(f"fclass.{p}", raw(p, SNAN[p] | sign)) == (1 << 8, 0)
        assert run(f"fclass.{p}", raw(p, NAN[p] | sign)) == (1 << 9, 0)


@pytest.mark.parametrize("p", ["s", "d"])
def test_fused_signs(p: str) -> None:
    two, three, five = raw(p, 2.0), raw(p, 3.0), raw(p, 5.0)
    for name, result in (("fmadd", 11.0), ("fmsub", 1.0), ("fnmsub", -1.0), ("fnmadd", -11.0)):
        assert run(f"{name}.{p}", two, three, five) == (raw(p, result), 0)
    # An exact zero: the sign is that of -(a*b)+c as a sum, not of the negated result.
    six, zero, minus_zero = raw(p, 6.0), raw(p, 0.0), raw(p, -0.0)
    assert run(f"fnmsub.{p}", two, three, six) == run(f"fmsub.{p}", two, three, six) == (zero, 0)
    assert run(f"fnmadd.{p}", two, three, raw(p, -6.0)) == (zero, 0)
    assert run(f"fnmadd.{p}", two, three, raw(p, -6.0), rm=2) == (minus_zero, 0)
    assert run(f"fnmadd.{p}", zero, three, zero) == (minus_zero, 0)
    # Rounding applies to the negated sum: towards +infinity -(1 + tiny) is -1.
    tiny = raw(p, 2.0**-100)
    one = raw(p, 1.0)
    assert run(f"fnmadd.{p}", one, one, tiny, rm=3) == (raw(p, -1.0), NX)
    for name in ("fmadd", "fmsub", "fnmsub", "fnmadd"):
        assert run(f"{name}.{p}", raw(p, INF[p]), zero, raw(p, NAN[p])) == (raw(p, NAN[p]), NV)
        assert run(f"{name}.{p}", one, raw(p, SNAN[p]), one) == (raw(p, NAN[p]), NV)
        assert run(f"{name}.{p}", one, one, raw(p, NAN[p] | SIGN[p])) == (raw(p, NAN[p]), 0)


@pytest.mark.parametrize("p", ["s", "d"])
def test_conversions_to_integers_extend_the_sign(p: str) -> None:
    assert run(f"fcvt.w.{p}", raw(p, -1.0)) == (M64, 0)
    assert run(f"fcvt.wu.{p}", raw(p, float(1 << 31))) == (0xFFFF_FFFF_8000_0000, 0)
    assert run(f"fcvt.wu.{p}", raw(p, float(1 << 32))) == (M64, NV)
    assert run(f"fcvt.wu.{p}", raw(p, -1.0)) == run(f"fcvt.lu.{p}", raw(p, -1.0)) == (0, NV)
    assert run(f"fcvt.l.{p}", raw(p, -float(1 << 63))) == (1 << 63, 0)
    assert run(f"fcvt.lu.{p}", raw(p, float(1 << 63))) == (1 << 63, 0)


@pytest.mark.parametrize("p", ["s", "d"])
def test_conversions_from_integers_take_the_width(p: str) -> None:
    operand = 0x1234_5678_FFFF_FFFE
    assert run(f"fcvt.{p}.w", operand) == (raw(p, -2.0), 0)
    assert run(f"fcvt.{p}.wu", 0x1234_5678_8000_0000) == (raw(p, float(1 << 31)), 0)
    assert run(f"fcvt.{p}.l", M64) == (raw(p, -1.0), 0)
    assert run(f"fcvt.{p}.lu", 1 << 63) == (raw(p, float(1 << 63)), 0)


def test_rounding_is_static_or_dynamic() -> None:
    operand = raw("d", 1.5)
    assert [run("fcvt.w.d", operand, rm=rm)[0] for rm in range(5)] == [2, 1, 1, 2, 2]
    assert [run("fcvt.w.d", operand, rm=7, frm=frm)[0] for frm in range(5)] == [2, 1, 1, 2, 2]
    above_one = raw("d", 1.0) + 1
    assert run("fcvt.s.d", above_one, rm=3) == (raw("s", 1.0) + 1, NX)
    assert run("fcvt.s.d", above_one, rm=1, frm=3) == (raw("s", 1.0), NX)


@pytest.mark.parametrize("p", ["s", "d"])
def test_comparisons(p: str) -> None:
    one, two, quiet, signalling = (raw(p, v) for v in (1.0, 2.0, NAN[p], SNAN[p]))
    for name, pairs in (("feq", (0, 1, 0)), ("flt", (1, 0, 0)), ("fle", (1, 1, 0))):
        results = tuple(run(f"{name}.{p}", *pair) for pair in ((one, two), (one, one), (two, one)))
        assert results == tuple((expected, 0) for expected in pairs)
        assert run(f"{name}.{p}", one, quiet) == (0, 0 if name == "feq" else NV)
        assert run(f"{name}.{p}", signalling, one) == (0, NV)
