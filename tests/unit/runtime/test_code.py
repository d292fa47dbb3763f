# SPDX-License-Identifier: Apache-2.0
"""Translated code: what writes to instructions is seen, by whomever and however it is written."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from innkeeper.codegen import layout as at
from innkeeper.engines.jit.engine import AreaSizes, JitEngine
from innkeeper.engines.reference.engine import ReferenceEngine
from innkeeper.errors import ConfigError
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.assembler import assemble
from tests.unit.runtime.guest import BASE, LEAF, PAGE, RAM_BYTES, XX, A, G, GuardedRam, Guest, R, V, W

TARGET = BASE + 0x4000
SMALL = AreaSizes(2 * at.BLOCK_CODE_BYTES, 2 * at.BLOCK_DATA_BYTES, 2)


def small_areas(ram: GuardedRam) -> JitEngine:
    return JitEngine(ram, sizes=SMALL)


@pytest.fixture
def guest() -> Iterator[Guest]:
    with Guest() as made:
        yield made


def word(text: str) -> int:
    return int.from_bytes(assemble(text), "little")


STORES = {
    "sd": "sd x11, 0(x10)",
    "sb": "sb x11, 0(x10); srli x12, x11, 8; sb x12, 1(x10); srli x12, x11, 16; sh x12, 2(x10)",
    "misaligned": "addi x12, x10, 2; srli x13, x11, 16; sh x11, 0(x10); sw x13, 0(x12)",
    "amoswap": "amoswap.w x0, x11, (x10)",
    "amoor": "sw x0, 0(x10); amoor.w x12, x11, (x10)",
    "sc": "lr.w x12, (x10); sc.w x12, x11, (x10)",
    "fsd": "fmv.d.x f1, x11; fsd f1, 0(x10)",
    "cbo.zero": "cbo.zero (x10); sw x11, 0(x10); srli x12, x11, 32; sw x12, 4(x10)",
}
"""Ways to put the low half of x11, which holds two instructions, at x10."""


@pytest.mark.parametrize("way", STORES)
def test_what_the_hart_writes_is_executed_after_fence_i(guest: Guest, way: str) -> None:
    first, second = assemble("li x7, 1\nret"), assemble("li x7, 2\nret")
    guest.ram.write(TARGET, first)
    guest.program(
        f"""li x5, {TARGET}
        jalr ra, 0(x5)
        mv x8, x7
        {STORES[way]}
        fence.i
        jalr ra, 0(x5)
        ecall"""
    )
    guest.start()
    guest.words[state.MSTATUS] |= 1 << 13
    guest.words[state.X + 10], guest.words[state.X + 11] = TARGET, int.from_bytes(second, "little")
    guest.vcpu.flush()
    guest.finish()
    assert (guest.x(8), guest.x(7)) == (1, 2)


@pytest.mark.parametrize("where", ["same page", "other page"])
def test_atomics_beside_code(guest: Guest, where: str) -> None:
    """The page of an atomic's target has code, perhaps its own: it must still end."""
    cell = BASE + 0x800 if where == "same page" else TARGET + 0x800
    guest.program(
        f"""li x5, {TARGET}
        jalr ra, 0(x5)
        li x5, {cell}
        li x6, 3
        li x9, 10
        loop: amoadd.d x7, x6, (x5)
        lr.w x8, (x5)
        addi x8, x8, 1
        sc.w x10, x8, (x5)
        bnez x10, end
        addi x9, x9, -1
        bnez x9, loop
        end: ecall"""
    )
    guest.program("ret", TARGET)
    guest.start()
    guest.finish()
    assert guest.ram.get64(cell) == 40


def test_data_beside_code_costs_no_translation(guest: Guest) -> None:
    guest.program(
        f"""li x5, {BASE + 0x800}
        li x9, 100
        loop: sd x9, 0(x5)
        amoadd.d x7, x9, (x5)
        addi x9, x9, -1
        bnez x9, loop
        ecall"""
    )
    guest.start()
    guest.finish()
    assert guest.statistic("code_invalidations") == 0
    assert guest.statistic("slow_accesses") >= 200


def test_code_that_writes_over_itself(guest: Guest) -> None:
    """Each turn executes another instruction that it has just written into its own page."""
    guest.program(
        f"""auipc x5, 0
        li x6, {word("addi x7, x7, 1")}
        li x9, 20
        li x11, 0x100000
        loop: addi x12, x5, 0x400
        sw x6, 0(x12)
        fence.i
        jalr ra, 0(x12)
        add x6, x6, x11
        addi x9, x9, -1
        bnez x9, loop
        ecall"""
    )
    guest.program("nop\nret", BASE + 0x400)
    guest.start()
    guest.finish()
    assert guest.x(7) == sum(range(1, 21))


def test_what_a_device_writes_is_executed_after_fence_i(guest: Guest) -> None:
    guest.program(f"li x5, {TARGET}\nloop: fence.i\njalr ra, 0(x5)\necall\nj loop")
    guest.start()
    for value in range(1, 30):
        code = assemble(f"li x7, {value}\nret")
        guest.engine.memory_written(TARGET, len(code))
        guest.ram.write(TARGET, code)
        guest.finish()
        guest.vcpu.complete_ecall()
        assert guest.x(7) == value


def test_a_device_writes_a_range_of_many_pages(guest: Guest) -> None:
    pages = [TARGET + i * PAGE for i in range(8)]
    calls = "jalr ra, 0(x8)\nadd x8, x8, x6\n" * 8
    guest.program(f"li x5, {TARGET}\nli x6, {PAGE}\nloop: fence.i\nmv x8, x5\n{calls}ecall\nj loop")
    guest.start()
    for step in (1, 2):
        for page in pages:
            guest.ram.write(page, assemble(f"addi x7, x7, {step}\nret"))
        guest.engine.memory_written(pages[0] + 2, 8 * PAGE - 2)
        guest.finish()
        guest.vcpu.complete_ecall()
    assert guest.x(7) == 24


def test_a_write_beside_the_code_of_a_page_keeps_it(guest: Guest) -> None:
    guest.program("ecall")
    guest.start()
    guest.finish()
    guest.engine.memory_written(BASE + 64, PAGE - 64)
    assert guest.statistic("code_invalidations") == 0
    guest.engine.memory_written(BASE + 63, 2)
    assert guest.statistic("code_invalidations") == 1


def test_a_page_walk_that_writes_to_code_is_seen(guest: Guest) -> None:
    """A page table entry that is an instruction too: its D bit changes the register that it writes."""
    code, stub, data_va, frame = BASE + 0x1000, BASE + 0x1800, 0x4000_0000, BASE + 0xA0_000
    root = guest.new_table()
    guest.map(root, code, code, R | XX | LEAF)
    entry = guest.map(root, data_va, frame, 0x300 | G | A | R | W | V)
    guest.map(root, entry & -PAGE, entry & -PAGE, R | XX | LEAF)
    assert guest.ram.get64(entry) == word("jalr x6, 512(x5)")
    guest.program("ret", stub)
    guest.program(
        f"""li x5, {stub - 512}
        li x8, {entry}
        jalr ra, 0(x8)
        li x9, {data_va}
        sd x9, 0(x9)
        fence.i
        jalr ra, 0(x8)
        ecall""",
        code,
    )
    guest.start(code)
    guest.use(root)
    guest.finish()
    assert guest.ram.get64(entry) == word("jalr x7, 512(x5)")
    assert (guest.x(6), guest.x(7)) == (entry + 4, entry + 4)


def crossing_program(guest: Guest) -> None:
    """Calls of an instruction over two pages whose halves are rewritten in turn."""
    guest.program(
        f"""li x5, {TARGET + PAGE - 2}
        li x9, 60
        loop: fence.i
        jalr ra, 0(x5)
        add x8, x8, x7
        sh x10, 0(x5)
        fence.i
        jalr ra, 0(x5)
        add x8, x8, x7
        sh x11, 0(x5)
        sh x12, 2(x5)
        fence.i
        jalr ra, 0(x5)
        add x8, x8, x7
        sh x13, 2(x5)
        addi x9, x9, -1
        bnez x9, loop
        ecall"""
    )
    one, two = assemble("li x7, 1"), assemble("li x7, 2")
    other = assemble("addi x7, x7, 1")
    guest.ram.write(TARGET + PAGE - 2, one + assemble("ret"))
    for register, half in [(10, other[:2]), (11, one[:2]), (12, two[2:]), (13, one[2:])]:
        guest.words[state.X + register] = int.from_bytes(half, "little")


def test_an_instruction_over_two_pages_is_rewritten() -> None:
    sums = []
    for make in (ReferenceEngine, JitEngine, small_areas):
        with Guest(make) as guest:
            guest.start()
            crossing_program(guest)
            guest.finish()
            sums.append(guest.x(8))
    assert sums == [sums[0]] * 3


def random_walk(rng: random.Random) -> str:
    """Many blocks over many pages that call each other in a random order, and count."""
    lines = [f"li x6, {rng.randrange(1, 1 << 20)}", "li x9, 400", "loop: mv x8, x8"]
    for _ in range(60):
        target = BASE + 0x2000 + rng.randrange(50) * 0x400
        lines += [f"li x5, {target}", "jalr ra, 0(x5)"]
    return "\n".join([*lines, "addi x9, x9, -1", "bnez x9, loop", "ecall"])


def fill_blocks(guest: Guest) -> None:
    for i in range(50):
        guest.program(f"slli x7, x6, 13\nxor x6, x6, x7\naddi x6, x6, {i}\nret", BASE + 0x2000 + i * 0x400)


def test_everything_is_right_where_areas_are_small(rng: random.Random) -> None:
    text, ended = random_walk(rng), []
    for make in (JitEngine, small_areas):
        with Guest(make) as guest:
            guest.program(text)
            fill_blocks(guest)
            guest.start()
            guest.finish(1_000_000)
            ended.append(bytes(guest.words[: state.PC + 1]))
            flushes = guest.statistic("code_flushes")
            assert flushes > 100 if make is small_areas else flushes == 0
    assert ended[0] == ended[1]


@pytest.mark.parametrize(
    "sizes", [(at.BLOCK_CODE_BYTES, at.BLOCK_DATA_BYTES, 2), (1 << 20, 100, 2), (1 << 20, 1 << 20, 1)]
)
def test_areas_that_cannot_work_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="room"):
        AreaSizes(*sizes)


def test_ram_that_ends_inside_a_page_is_refused() -> None:
    with pytest.raises(ConfigError, match="pages"):
        JitEngine(GuardedRam(RAM_BYTES + 8))


def writable_and_executable() -> set[str]:
    with open("/proc/self/maps") as maps:
        return {line for line in maps if "wx" in line.split()[1]}


def test_nothing_is_writable_and_executable() -> None:
    before = writable_and_executable()  # libffi may have a page, for callbacks of others
    with Guest() as guest:
        guest.program("ecall")
        guest.start()
        guest.finish()
        assert writable_and_executable() <= before
