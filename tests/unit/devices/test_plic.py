# SPDX-License-Identifier: Apache-2.0
"""Interrupt routing, claim and completion."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.devices.plic import Plic

M0, S0, M1, S1 = range(4)


class Bench:
    """A PLIC of two harts and the levels of its four outputs."""

    def __init__(self) -> None:
        self.outputs = [0] * 4
        self.plic = Plic(self._set_line, hart_count=2)

    def _set_line(self, context: int, level: int) -> None:
        assert self.outputs[context] != level, "only changes are reported"
        self.outputs[context] = level

    def read(self, offset: int) -> int:
        return self.plic.read(offset, 4)

    def write(self, offset: int, value: int) -> None:
        self.plic.write(offset, 4, value)

    def enable(self, context: int, source: int, priority: int = 1) -> None:
        self.write(4 * source, priority)
        word = 0x2000 + 0x80 * context + 4 * (source // 32)
        self.write(word, self.read(word) | 1 << source % 32)

    def claim(self, context: int) -> int:
        return self.read(0x200004 + 0x1000 * context)

    def complete(self, context: int, source: int) -> None:
        self.write(0x200004 + 0x1000 * context, source)

    def threshold(self, context: int, value: int) -> None:
        self.write(0x200000 + 0x1000 * context, value)


def test_an_interrupt_is_claimed_once_and_returns_after_completion_while_the_line_is_high():
    bench = Bench()
    bench.enable(S0, 10)
    line = bench.plic.line(10)
    line(1)
    assert bench.outputs == [0, 1, 0, 0]
    assert bench.claim(S0) == 10
    assert bench.outputs == [0, 0, 0, 0]
    assert bench.claim(S0) == 0
    line(1)
    assert bench.outputs[S0] == 0, "the gateway waits for completion"
    bench.complete(S0, 10)
    assert bench.outputs[S0] == 1
    bench.claim(S0)
    line(0)
    bench.complete(S0, 10)
    assert bench.outputs[S0] == 0


def test_a_line_that_drops_and_rises_again_while_in_service_waits_for_completion():
    bench = Bench()
    bench.enable(S0, 10)
    bench.plic.set_source(10, 1)
    assert bench.claim(S0) == 10
    bench.plic.set_source(10, 0)
    bench.plic.set_source(10, 1)
    assert bench.outputs[S0] == 0 and bench.claim(S0) == 0
    bench.complete(S0, 10)
    assert bench.claim(S0) == 10


def test_a_forwarded_request_stays_pending_when_the_line_drops():
    bench = Bench()
    bench.enable(M1, 95)
    bench.plic.set_source(95, 1)
    bench.plic.set_source(95, 0)
    assert bench.read(0x1008) == 1 << 31
    assert bench.claim(M1) == 95


def test_highest_priority_wins_and_ties_go_to_the_lowest_source():
    bench = Bench()
    for source, priority in ((40, 3), (7, 2), (50, 3)):
        bench.enable(S1, source, priority)
        bench.plic.set_source(source, 1)
    assert [bench.claim(S1) for _ in range(4)] == [40, 50, 7, 0]


def test_threshold_masks_the_line_but_not_the_claim():
    bench = Bench()
    bench.enable(S0, 5, 3)
    bench.threshold(S0, 3)
    bench.plic.set_source(5, 1)
    assert bench.outputs[S0] == 0
    bench.threshold(S0, 2)
    assert bench.outputs[S0] == 1
    bench.threshold(S0, 7)
    assert bench.claim(S0) == 5


def test_priority_zero_never_interrupts():
    bench = Bench()
    bench.enable(S0, 5, 0)
    bench.plic.set_source(5, 1)
    assert bench.outputs[S0] == 0
    assert bench.claim(S0) == 0
    bench.write(20, 7)
    assert bench.outputs[S0] == 1


def test_completion_by_a_context_that_has_not_enabled_the_source_is_ignored():
    bench = Bench()
    bench.enable(S0, 5)
    bench.plic.set_source(5, 1)
    bench.claim(S0)
    bench.complete(S1, 5)
    bench.complete(S0, 4000)
    assert bench.outputs[S0] == 0
    bench.complete(S0, 5)
    assert bench.outputs[S0] == 1


def test_source_zero_and_missing_sources_do_not_exist():
    bench = Bench()
    bench.write(0x2000, 0xFFFF_FFFF)
    assert bench.read(0x2000) == 0xFFFF_FFFE
    bench.write(4 * 96, 1)
    assert bench.read(4 * 96) == 0
    with pytest.raises(ValueError):
        bench.plic.line(96)


def test_reset_keeps_the_levels_of_the_devices():
    bench = Bench()
    bench.enable(S0, 5)
    bench.plic.set_source(5, 1)
    bench.plic.reset()
    assert bench.outputs == [0, 0, 0, 0]
    bench.enable(S0, 5)
    assert bench.claim(S0) == 5


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("read"), st.integers(0, 0x600000), st.just(0)),
            st.tuples(st.just("write"), st.integers(0, 0x3000), st.integers(0, 2**32)),
            st.tuples(st.just("write"), st.integers(0x200000, 0x205000), st.integers(0, 2**32)),
            st.tuples(st.just("line"), st.integers(1, 95), st.integers(0, 1)),
        )
    )
)
def test_outputs_always_agree_with_the_registers(steps):
    bench = Bench()
    for kind, where, value in steps:
        if kind == "line":
            bench.plic.set_source(where, value)
        elif kind == "write":
            bench.write(where & ~3, value)
        else:
            bench.read(where & ~3)
    state = bench.plic.state
    for context in range(4):
        ready = [
            source
            for source in range(1, 96)
            if state.pending & state.enable[context] & 1 << source
            and state.priority[source] > state.threshold[context]
        ]
        assert bench.outputs[context] == bool(ready)
