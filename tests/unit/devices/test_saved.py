# SPDX-License-Identifier: Apache-2.0
"""State as plain data: what goes in comes out, and nothing else is let in."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.devices.clint import Clint, ClintState
from innkeeper.devices.plic import Plic, PlicState
from innkeeper.devices.rtc import GoldfishRtc, RtcState
from innkeeper.devices.saved import from_plain, to_plain
from innkeeper.devices.uart import Uart, UartState
from innkeeper.devices.virtio.console import ConsoleState
from innkeeper.devices.virtio.console_port import PortState
from innkeeper.devices.virtio.queue import QueueState
from innkeeper.errors import ConfigError
from innkeeper.machine.clock import VirtualClock


@dataclass
class Inner:
    flag: bool = False
    data: bytes = b""


@dataclass
class Outer:
    number: int = 0
    text: str = ""
    buffer: bytearray = field(default_factory=bytearray)
    items: list[Inner] = field(default_factory=list)
    waiting: deque[bytes] = field(default_factory=deque)
    maybe: list[int] | None = None


def through_json(state: object) -> Any:
    return json.loads(json.dumps(to_plain(state)))


NUMBERS = st.integers(-(1 << 127), 1 << 127)
OUTERS = st.builds(
    Outer,
    NUMBERS,
    st.text(max_size=20),
    st.binary(max_size=50).map(bytearray),
    st.lists(st.builds(Inner, st.booleans(), st.binary(max_size=20)), max_size=5),
    st.lists(st.binary(max_size=10), max_size=5).map(deque),
    st.none() | st.lists(NUMBERS, max_size=3),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(OUTERS)
def test_state_comes_back_as_it_was(state: Outer) -> None:
    back = from_plain(Outer, through_json(state), "state")
    assert back == state
    assert (type(back.buffer), type(back.waiting)) == (bytearray, deque)


@given(OUTERS, st.sampled_from([f.name for f in fields(Outer)]), JSON)
def test_a_field_of_another_type_is_refused_or_taken_as_what_it_is(
    state: Outer, name: str, other: Any
) -> None:
    plain = through_json(state) | {name: other}
    try:
        back = from_plain(Outer, plain, "state")
    except ConfigError:
        return
    assert from_plain(Outer, through_json(back), "state") == back


@pytest.mark.parametrize(
    "plain",
    [
        None,
        [],
        {},
        through_json(Outer()) | {"more": 1},
        through_json(Outer()) | {"number": True},
        through_json(Outer()) | {"number": 1.0},
        through_json(Outer()) | {"number": 1 << 128},
        through_json(Outer()) | {"buffer": "not base64!"},
        through_json(Outer()) | {"buffer": "A" * (1 << 22)},
        through_json(Outer()) | {"items": [None] * 70000},
        through_json(Outer()) | {"maybe": [None]},
    ],
    ids=lambda plain: str(plain)[:40],
)
def test_what_no_state_is_gives_a_reason_and_a_remedy(plain: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        from_plain(Outer, plain, "state")
    assert "state" in caught.value.message and caught.value.remedy


U64 = st.integers(0, (1 << 64) - 1)
U8 = st.integers(0, 255)
BITS = st.integers(0, 1)
QUEUES = st.builds(
    QueueState, st.just(256), U64, st.booleans(), U64, U64, U64, U64, U64, U64, st.booleans(), st.booleans()
)
STATES = st.one_of(
    st.builds(UartState, U8, U8, U8, U8, U8, U8, U64, st.booleans(), st.booleans(),
              st.binary(max_size=30).map(bytearray)),
    st.builds(RtcState, NUMBERS, U64, U64, U64, U64, st.booleans(), st.booleans(), st.booleans()),
    st.builds(ClintState, st.lists(BITS, max_size=8)),
    st.builds(PlicState, st.lists(U8, max_size=4), st.lists(U64, max_size=4), st.lists(U8, max_size=4), U64,
              U64, U64, st.lists(BITS, max_size=4)),
    st.builds(ConsoleState, U8, U64, U8, U64, st.text(max_size=9), st.lists(QUEUES, max_size=3),
              st.lists(st.builds(PortState, st.booleans(), st.booleans(), st.booleans(),
                                 st.binary(max_size=9).map(bytearray)), max_size=3),
              st.lists(st.binary(max_size=9), max_size=3).map(deque)),
)  # fmt: skip


@given(STATES)
def test_the_state_of_every_device_is_plain_data(state: Any) -> None:
    assert from_plain(type(state), through_json(state), "device") == state


def make_plic() -> tuple[Plic, list[tuple[int, int]]]:
    changes: list[tuple[int, int]] = []
    return Plic(lambda context, level: changes.append((context, level)), hart_count=2), changes


def test_a_plic_goes_on_in_the_middle_of_an_interrupt() -> None:
    plic, _ = make_plic()
    plic.write(4 * 10, 4, 5)
    plic.write(4 * 11, 4, 3)
    plic.write(0x2080, 4, 1 << 10 | 1 << 11)
    plic.set_source(10, 1)
    plic.set_source(11, 1)
    assert plic.read(0x20_1004, 4) == 10
    other, changes = make_plic()
    other.restore(from_plain(PlicState, through_json(plic.state), "plic"))
    assert changes == [], "the harts have their lines from their own state"
    assert other.read(0x20_1004, 4) == 11
    assert changes == [(1, 0)]
    other.write(0x20_1004, 4, 10)
    assert changes == [(1, 0), (1, 1)], "the line of 10 is still up"


@pytest.mark.parametrize(
    "change",
    [
        {"priority": [0] * 95},
        {"enable": [0, 0, 0, 1 << 96]},
        {"enable": [0, 0, 0, -2]},
        {"threshold": [0, 0, 0, 8]},
        {"pending": 1},
        {"output": [0, 0, 0, 2]},
    ],
)
def test_a_plic_of_another_size_or_with_impossible_registers_is_refused(change: dict[str, Any]) -> None:
    plic, _ = make_plic()
    for name, value in change.items():
        setattr(plic.state, name, value)
    with pytest.raises(ConfigError, match="PLIC"):
        make_plic()[0].restore(plic.state)


def test_a_clint_for_other_harts_is_refused() -> None:
    def make(hart_count: int) -> Clint:
        return Clint(
            hart_count=hart_count,
            set_msip=lambda hart, level: None,
            set_mtimecmp=lambda hart, ticks: None,
            get_mtimecmp=lambda hart: 0,
            time_ticks=lambda: 0,
        )

    clint = make(2)
    clint.write(4, 4, 1)
    other = make(2)
    other.restore(from_plain(ClintState, through_json(clint.state), "clint"))
    assert (other.read(0, 4), other.read(4, 4)) == (0, 1)
    for state in (ClintState([0]), ClintState([0, 2])):
        with pytest.raises(ConfigError):
            make(2).restore(state)


def test_a_uart_keeps_what_the_guest_has_not_read() -> None:
    sent: list[bytes] = []
    uart = Uart(lambda level: None, sent.append)
    uart.write(1, 1, 1)
    uart.receive(b"abc")
    assert uart.read(0, 1) == ord("a")
    other = Uart(lambda level: None, sent.append)
    other.restore(from_plain(UartState, through_json(uart.state), "uart"))
    assert [other.read(0, 1) for _ in range(3)] == [ord("b"), ord("c"), 0]
    for state in (UartState(ier=256), UartState(divisor=-1), UartState(input=bytearray(65537))):
        with pytest.raises(ConfigError):
            other.restore(state)


def test_a_clock_shows_the_time_of_its_host_and_an_alarm_that_came_meanwhile() -> None:
    lines: list[int] = []
    clock = VirtualClock(wall_start_ns=1_000)
    rtc = GoldfishRtc(lines.append, clock)
    rtc.write(0x10, 4, 1)
    rtc.write(0x0C, 4, 0)
    rtc.write(0x08, 4, 5_000)
    later = VirtualClock(wall_start_ns=9_000)
    other = GoldfishRtc(lines.append, later)
    other.restore(from_plain(RtcState, through_json(rtc.state), "rtc"))
    assert other.read(0, 4) == 9_000
    lines.clear()
    assert other.deadline_ns() == 0
    other.poll()
    assert lines == [1]
    with pytest.raises(ConfigError):
        other.restore(RtcState(alarm_ns=1 << 64))
