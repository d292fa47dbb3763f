# SPDX-License-Identifier: Apache-2.0
"""Token buckets, budgets, deadlines and the retransmission time-out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.machine.clock import VirtualClock
from innkeeper.network import tcp_rtt
from innkeeper.network.event_loop import Deadline
from innkeeper.network.limits import NS_PER_S, BufferBudget, Limits, TokenBucket
from innkeeper.network.tcp_buffers import ChunkPool
from tests.unit.network.loop import VirtualLoop


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, NS_PER_S)), max_size=60))
def test_a_bucket_keeps_its_rate(steps: list[tuple[int, int]]) -> None:
    """Never more than burst + rate * time + what the last one overdrew."""
    clock = VirtualClock()
    bucket = TokenBucket(clock, 1000, 3000)
    passed, largest = 0, 0
    for units, pause_ns in steps:
        if bucket.take(units):
            passed += units
            largest = max(largest, units)
        assert passed <= 3000 + 1000 * clock.now_ns() / NS_PER_S + largest
        clock.advance_ns(pause_ns)


def test_a_bucket_says_when() -> None:
    clock = VirtualClock()
    bucket = TokenBucket(clock, 1000, 500)
    assert bucket.take(2500) and not bucket.is_open()
    clock.advance_ns(bucket.ready_ns() - clock.now_ns())
    assert bucket.is_open()
    assert 1.9 * NS_PER_S < clock.now_ns() < 2.1 * NS_PER_S


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 0), (-1, 5)])
def test_a_bucket_that_lets_nothing_pass_is_a_mistake(rate: int, burst: int) -> None:
    with pytest.raises(ValueError):
        TokenBucket(VirtualClock(), rate, burst)


def test_a_guest_leaves_half_of_the_descriptors() -> None:
    for descriptors in (64, 1024, 4096, 1 << 16):
        limits = Limits().within(descriptors)
        # A DNS connection has two: the ends of a pair.
        used = limits.tcp_connections + limits.udp_flows + limits.dns_queries + limits.echo_flows
        assert used + limits.dns_connections <= descriptors // 2
    assert Limits().within(1 << 16) == Limits()


def test_chunks_stay_in_the_budget() -> None:
    budget = BufferBudget(200_000)
    pool = ChunkPool(budget)
    large = [pool.take(), pool.take(), pool.take()]
    assert large[0] is not None and large[1] is not None and large[2] is not None
    assert pool.take() is None
    small = pool.chunk(large[0], 0, 100)
    whole = pool.chunk(large[1], 100, 60_000)
    assert budget.used_bytes < 140_000
    assert (small.end, whole.end) == (100, 60_100)
    pool.release(small)
    pool.release(whole)
    pool.give_back(large[2])
    assert budget.used_bytes == 0


def test_a_deadline_runs_once_at_its_last_time() -> None:
    loop, ran = VirtualLoop(), list[int]()
    deadline = Deadline(loop, lambda: ran.append(loop.clock.now_ns()))
    start_ns = loop.clock.now_ns()
    deadline.set(start_ns + 100)
    deadline.set(start_ns + 500)
    deadline.set(start_ns + 300)
    loop.advance_ns(1000)
    assert ran == [start_ns + 300] and not deadline.pending
    deadline.set(start_ns + 2000)
    deadline.set(start_ns + 1500)
    loop.advance_ns(600)
    assert ran == [start_ns + 300, start_ns + 1500]


def test_a_cleared_deadline_does_not_run() -> None:
    loop, ran = VirtualLoop(), list[int]()
    deadline = Deadline(loop, lambda: ran.append(1))
    deadline.set(loop.clock.now_ns() + 100)
    deadline.clear()
    loop.advance_ns(200)
    deadline.set(loop.clock.now_ns() + 100)
    deadline.close()
    loop.advance_ns(200)
    assert not ran


def test_retransmission_timeout() -> None:
    """Spec: RFC 6298 2 and 5."""
    timeout = tcp_rtt.RetransmissionTimeout()
    assert timeout.timeout_ns == NS_PER_S
    timeout.measured(NS_PER_S)
    assert timeout.timeout_ns == 3 * NS_PER_S
    for _ in range(100):
        timeout.measured(NS_PER_S // 1000)
    assert timeout.timeout_ns == tcp_rtt.MIN_NS
    timeout.expired()
    timeout.expired()
    assert timeout.timeout_ns == 4 * tcp_rtt.MIN_NS
    for _ in range(50):
        timeout.expired()
    assert timeout.timeout_ns == tcp_rtt.MAX_NS
    timeout.answered()
    assert timeout.timeout_ns == tcp_rtt.MIN_NS
