# SPDX-License-Identifier: Apache-2.0
"""Putting regions in place: only of pages that are as they were, where there is room, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from innkeeper.codegen import layout as at
from innkeeper.codegen.region_code import LIMIT_CODE_BYTES, RegionCode
from innkeeper.codegen.region_object import compile_region
from innkeeper.engines.engine import ExitReason
from innkeeper.engines.jit.engine import AreaSizes, JitEngine
from innkeeper.engines.jit.regions import RegionInstaller
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.assembler import assemble
from tests.unit.runtime.guest import BASE, PAGE, GuardedRam

LOOP = assemble("loop: addi x5, x5, 3; addi x6, x6, 1; jal x0, loop")
SOURCE = LOOP.ljust(PAGE, b"\0")
PAGES = 16


class Place:
    """An engine with little room, and a region of its first page."""

    def __init__(self) -> None:
        self.ram = GuardedRam(PAGES * PAGE)
        self.ram.write(BASE, LOOP)
        self.engine = JitEngine(
            self.ram, sizes=AreaSizes(4 * at.BLOCK_CODE_BYTES, 4 * at.BLOCK_DATA_BYTES, 4)
        )
        self.installer = RegionInstaller(self.engine)
        self.vcpu = self.engine.create_vcpu(0, ecall_exits=True)
        self.vcpu.reset(BASE, 1, 0, 0)
        found = compile_region(SOURCE, (0,))
        assert found is not None
        self.region = found

    def check_guest(self) -> None:
        """The loop still does what it should."""
        self.vcpu.reset(BASE, 1, 0, 0)
        assert self.vcpu.run(3000).reason == ExitReason.BUDGET
        assert self.vcpu.words[state.X + 5] == 3000


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.check_guest()
    assert made.ram.intact
    made.engine.close()


def test_it_is_in_place_until_its_page_is_written(place: Place) -> None:
    assert not place.installer.has_region(BASE)
    assert place.installer.install(BASE, SOURCE, place.region)
    assert place.installer.has_region(BASE)
    assert not place.installer.has_region(BASE + 2)
    place.engine.memory_written(BASE + 128, 4)  # a line without code
    assert place.installer.has_region(BASE)
    place.engine.memory_written(BASE + 4, 1)
    assert not place.installer.has_region(BASE)


def test_a_page_that_changed_meanwhile(place: Place) -> None:
    changed = SOURCE[:4] + b"\x93" + SOURCE[5:]
    assert not place.installer.install(BASE, changed, place.region)
    assert not place.installer.has_region(BASE)
    elsewhere = SOURCE[:200] + b"\1" + SOURCE[201:]
    assert place.installer.install(BASE, elsewhere, place.region)  # what it was made from is the same


@pytest.mark.parametrize("address", [0, BASE - PAGE, BASE + PAGES * PAGE, BASE + 2, (1 << 64) - PAGE])
def test_only_pages_of_ram(place: Place, address: int) -> None:
    assert not place.installer.has_region(address)
    with pytest.raises(ValueError, match="page of RAM"):
        place.installer.install(address, SOURCE, place.region)
    with pytest.raises(ValueError, match="page of RAM"):
        place.installer.install(BASE, SOURCE[:-1], place.region)


def test_one_that_has_no_room_is_not_placed(place: Place) -> None:
    for size in (LIMIT_CODE_BYTES, 4 * at.BLOCK_CODE_BYTES, 3 * at.BLOCK_CODE_BYTES):
        large = RegionCode(
            place.region.code.ljust(size, b"\xcc"), place.region.stubs, place.region.entries, 1
        )
        assert not place.installer.install(BASE, SOURCE, large)


def test_room_is_used_up_and_given_back(place: Place) -> None:
    """Region after region: at some time there is no room, until all code is thrown away."""
    size = at.BLOCK_CODE_BYTES // 2
    large = RegionCode(place.region.code.ljust(size, b"\xcc"), place.region.stubs, place.region.entries, 1)
    placed = [place.installer.install(BASE, SOURCE, large) for _ in range(20)]
    assert placed[0]
    assert not placed[-1]
    for page in range(1, 8):  # more pages of code than there may be
        place.ram.write(BASE + page * PAGE, LOOP)
        place.vcpu.reset(BASE + page * PAGE, 1, 0, 0)
        place.vcpu.run(100)
    assert place.engine.statistics()["code_flushes"] > 0
    assert place.installer.install(BASE, SOURCE, large)


def test_it_may_lie_at_any_boundary_of_64_bytes(place: Place) -> None:
    """Constants of vector registers are read where the code says that they are."""
    code = assemble(
        "loop: fsgnjn.d f2, f1, f1; fsgnjx.s f3, f2, f1; fcvt.d.lu f4, x5; addi x5, x5, 1; jal x0, loop"
    )
    place.ram.write(BASE + PAGE, code)
    source = code.ljust(PAGE, b"\0")
    region = compile_region(source, (0,))
    assert region is not None
    results = set()
    for number in range(40):
        padded = RegionCode(region.code.ljust(len(region.code) + 17 * number, b"\xcc"), *parts(region))
        if not place.installer.install(BASE + PAGE, source, padded):
            break
        place.vcpu.reset(BASE + PAGE, 1, 0, 0)
        words = place.vcpu.words
        words[state.MSTATUS] |= 1 << 13
        words[state.F + 1] = 0x3FF0 << 48
        place.vcpu.flush()
        place.vcpu.run(1000)
        results.add(tuple(words[state.F + register] for register in range(1, 5)))
    assert number > 8
    assert len(results) == 1
    assert results.pop()[1] == 0xBFF0 << 48


def parts(region: RegionCode) -> tuple[tuple[tuple[int, int, int], ...], tuple[tuple[int, int], ...], int]:
    return region.stubs, region.entries, region.lines
