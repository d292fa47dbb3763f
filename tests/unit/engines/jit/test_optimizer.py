# SPDX-License-Identifier: Apache-2.0
"""What the optimiser asks for, by samples that the test makes, and that it ends when it should."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from innkeeper.codegen import layout as at
from innkeeper.codegen.region_code import RegionCode
from innkeeper.codegen.region_object import compile_region
from innkeeper.engines.engine import ExitReason
from innkeeper.engines.jit import optimizer as tier
from innkeeper.engines.jit.engine import JitEngine
from innkeeper.engines.jit.optimizer import Wanted
from innkeeper.isa.riscv.assembler import assemble
from tests.unit.runtime.guest import BASE, PAGE, GuardedRam

LOOP = assemble("loop: addi x5, x5, 3; addi x6, x6, 1; jal x0, loop")
WAIT_S = 60
PAGES = 32
Asked = tuple[int, tuple[int, ...], Wanted]
"""Number of the page, entries, and what was wanted."""


class SampledEngine(JitEngine):
    """Takes the samples that a test gives."""

    def start_sampling(self) -> memoryview:
        self.samples = super().start_sampling()
        return self.samples

    def sample(self, address: int, count: int) -> None:
        number = self.shared[at.SAMPLE_NEXT]
        for _ in range(count):
            self.samples[number % at.SAMPLE_ENTRIES] = address
            number += 1
        self.shared[at.SAMPLE_NEXT] = number


class Tier:
    """An engine with pages of loops, and an optimiser whose compiler is the test's."""

    def __init__(self) -> None:
        self.ram = GuardedRam(PAGES * PAGE)
        for number in range(PAGES):
            self.ram.write(BASE + number * PAGE, LOOP + bytes([number]))
        self.engine = SampledEngine(self.ram)
        self.asked: queue.Queue[Asked] = queue.Queue()
        self.answer: Callable[[bytes, tuple[int, ...], Wanted], RegionCode | None] = lambda *_: None
        self.given_up = threading.Event()
        self.engine.start_optimizer(self._compile, self.given_up.set)

    def _compile(self, page: bytes, entries: tuple[int, ...], wanted: Wanted) -> RegionCode | None:
        self.asked.put((page[len(LOOP)], entries, wanted))
        return self.answer(page, entries, wanted)

    def give(self, *samples: tuple[int, int, int]) -> None:
        """Samples at (page, offset), so many; then the harts say that they have run."""
        for page, offset, count in samples:
            self.engine.sample(BASE + page * PAGE + offset, count)
        self.poll()

    def poll(self) -> None:
        assert self.engine.optimizer is not None
        self.engine.optimizer.poll()

    def next(self) -> Asked:
        return self.asked.get(timeout=WAIT_S)

    def until(self, wanted: Wanted) -> list[Asked]:
        """What is asked for, up to something of that kind."""
        found = [self.next()]
        while found[-1][2] is not wanted:
            found.append(self.next())
        return found


@pytest.fixture
def optimized() -> Iterator[Tier]:
    made = Tier()
    yield made
    made.engine.close()
    assert made.ram.intact


MANY = 10 * tier.HOT_SAMPLES


def test_the_cache_is_asked_first_then_the_hottest_page_is_compiled(optimized: Tier) -> None:
    optimized.give((1, 0, tier.WARM_SAMPLES), (2, 4, MANY), (3, 0, 2 * MANY), (4, 0, 1))
    asked = optimized.until(Wanted.ANY)
    assert {(page, wanted) for page, _, wanted in asked[:-1]} == {(n, Wanted.KNOWN) for n in (1, 2, 3)}
    assert asked[-1] == (3, (0,), Wanted.ANY)
    assert optimized.next() == (2, (4,), Wanted.ANY)


def test_what_is_known_does_not_wait_for_what_is_compiled(optimized: Tier) -> None:
    released = threading.Event()

    def answer(page: bytes, entries: tuple[int, ...], wanted: Wanted) -> RegionCode | None:
        if wanted is not Wanted.KNOWN:
            assert released.wait(WAIT_S)
        return compile_region(page, entries) if wanted is Wanted.KNOWN and page[len(LOOP)] == 2 else None

    optimized.answer = answer
    optimized.give((1, 0, MANY))
    optimized.until(Wanted.ANY)
    optimized.give((2, 0, MANY))
    assert optimized.next() == (2, (0,), Wanted.KNOWN)
    optimized.give((3, 0, MANY))
    assert optimized.next() == (3, (0,), Wanted.KNOWN)
    made = optimized.engine.optimizer
    assert made is not None and made.installed == 1
    released.set()


def test_what_the_cache_has_is_not_compiled(optimized: Tier) -> None:
    optimized.answer = lambda page, entries, wanted: compile_region(page, entries)
    optimized.give((1, 0, MANY))
    assert optimized.next() == (1, (0,), Wanted.KNOWN)
    optimized.give((1, 0, MANY), (2, 0, tier.WARM_SAMPLES))
    assert optimized.next() == (2, (0,), Wanted.KNOWN)


def test_places_that_a_region_does_not_hold_are_compiled_in(optimized: Tier) -> None:
    optimized.answer = lambda page, entries, wanted: compile_region(page, entries, 1)
    optimized.give((1, 0, MANY))
    optimized.until(Wanted.KNOWN)
    optimized.give((1, 4, MANY))
    page, entries, _ = optimized.until(Wanted.ALL_ENTRIES)[-1]
    assert (page, set(entries)) == (1, {0, 4})


def test_a_page_without_a_region_is_asked_for_once(optimized: Tier) -> None:
    optimized.give((1, 0, MANY))
    optimized.until(Wanted.ANY)
    for _ in range(5):
        optimized.give((1, 0, MANY))
    optimized.give((2, 0, MANY))
    assert {page for page, _, _ in optimized.until(Wanted.ANY)} == {2}


def test_a_page_that_goes_on_changing_is_given_up(optimized: Tier) -> None:
    """Each time another page is compiled than is there in the end."""
    turn = 0

    def answer(page: bytes, entries: tuple[int, ...], wanted: Wanted) -> RegionCode | None:
        nonlocal turn
        turn += 1
        optimized.ram.write(BASE + PAGE + 60, turn.to_bytes(4, "little"))
        return compile_region(page, entries)

    optimized.answer = answer
    samples = tier.FORGET_AFTER_SAMPLES // 20
    compiled = 0
    for other in range(2, 18):
        optimized.give((1, 0, samples), (other, 0, tier.WARM_SAMPLES))
        while (asked := optimized.next())[0] != other:
            compiled += asked[0] == 1 and asked[2] is not Wanted.KNOWN
    assert 0 < compiled <= tier.MAX_COMPILES


def test_samples_that_are_no_addresses_of_ram(optimized: Tier) -> None:
    optimized.engine.sample(0, MANY)
    optimized.engine.sample(BASE + PAGES * PAGE, MANY)
    optimized.engine.sample((1 << 64) - 2, MANY)
    optimized.give((5, 0, MANY))
    assert optimized.next()[0] == 5


def test_the_engine_closes_while_it_compiles() -> None:
    """What is given up is not put in place any more."""
    optimized = Tier()

    def answer(page: bytes, entries: tuple[int, ...], wanted: Wanted) -> RegionCode | None:
        assert optimized.given_up.wait(WAIT_S)
        return compile_region(page, entries)

    optimized.answer = answer
    optimized.give((1, 0, MANY))
    optimized.next()
    made = optimized.engine.optimizer
    assert made is not None
    optimized.engine.close()
    assert made.installed == 0
    assert optimized.asked.empty()


def test_a_hot_loop_becomes_a_region() -> None:
    ram = GuardedRam(1 << 16)
    ram.write(BASE, LOOP)
    engine = JitEngine(ram)
    vcpu = engine.create_vcpu(0, ecall_exits=True)
    done = threading.Event()

    def compiles(page: bytes, entries: tuple[int, ...], wanted: Wanted) -> RegionCode | None:
        if wanted is Wanted.KNOWN:
            return None
        done.set()
        return compile_region(page, entries)

    engine.start_optimizer(compiles, lambda: None)
    vcpu.reset(BASE, 1, 0, 0)
    while engine.shared[at.REGIONS] == 0 or not done.is_set():
        assert vcpu.run(1_000_000).reason == ExitReason.BUDGET
    engine.close()


def test_code_that_is_forgotten_is_found_again(optimized: Tier) -> None:
    """A region that was dropped with its page is asked for anew when the page is hot again."""
    optimized.answer = lambda page, entries, wanted: compile_region(page, entries)
    optimized.give((1, 0, MANY))
    optimized.until(Wanted.KNOWN)
    optimized.give((2, 0, MANY))
    optimized.until(Wanted.KNOWN)  # the first is in place by now
    optimized.engine.memory_written(BASE + PAGE, PAGE)
    optimized.give((1, 0, MANY))
    assert optimized.next() == (1, (0,), Wanted.KNOWN)
