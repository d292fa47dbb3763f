# SPDX-License-Identifier: Apache-2.0
"""The state of a hart: through JSON into a hart of another engine, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.devices.saved import from_plain, to_plain
from innkeeper.errors import ConfigError
from innkeeper.isa.riscv import csrs_write, state
from innkeeper.machine.clock import VirtualClock
from innkeeper.machine.hart import Hart
from innkeeper.machine.hart_record import CSR_NAMES, HartRecord, put, record
from innkeeper.spec import riscv
from innkeeper.spec.sbi import HartState
from tests.unit.machine.scripted import ScriptedEngine, ScriptedVcpu

U64 = st.integers(0, (1 << 64) - 1)


def make_hart(instructions_per_tick: int = 0) -> Hart:
    engine = ScriptedEngine(lambda vcpu: iter(()))
    return Hart(ScriptedVcpu(engine, 0, instructions_per_tick), VirtualClock(start_ns=123_400))


def masked(mask: int) -> st.SearchStrategy[int]:
    return U64.map(lambda value: value & mask)


CSRS = dict.fromkeys(CSR_NAMES, U64) | {
    "mstatus": masked(csrs_write.MSTATUS_WRITABLE & ~riscv.MSTATUS_MPP),
    "misa": masked(riscv.MISA_LETTERS),
    "medeleg": masked(csrs_write.MEDELEG_WRITABLE),
    "mideleg": masked(riscv.MIP_SUPERVISOR),
    "mie": masked(riscv.MIP_ALL),
    "mip": masked(riscv.MIP_SUPERVISOR),
    "mtvec": masked(~3),
    "stvec": masked(~3),
    "mepc": masked(~1),
    "sepc": masked(~1),
    "mcounteren": masked(7),
    "scounteren": masked(7),
    "mcountinhibit": masked(5),
    "menvcfg": masked(csrs_write.MENVCFG_WRITABLE),
    "senvcfg": masked(csrs_write.SENVCFG_WRITABLE),
    "satp": st.sampled_from([0, 8, 9, 10]).flatmap(
        lambda mode: masked((1 << 60) - 1).map(lambda v: v | mode << 60)
    ),
    "fflags": masked(31),
    "frm": masked(7),
}
PAIRS = st.none() | st.lists(U64, min_size=2, max_size=2)


@st.composite
def records(draw: st.DrawFn) -> HartRecord:
    start = draw(PAIRS)
    states = [HartState.STARTED, HartState.STOPPED, HartState.SUSPENDED]
    return HartRecord(
        pc=draw(masked(~1)),
        privilege=draw(st.sampled_from([0, 1, 3])),
        x=[0, *draw(st.lists(U64, min_size=31, max_size=31))],
        f=draw(st.lists(U64, min_size=32, max_size=32)),
        csrs=[draw(CSRS[name]) for name in CSR_NAMES],
        pmp_config=draw(st.lists(U64, min_size=2, max_size=2)),
        pmp_address=draw(st.lists(masked(riscv.PMP_ADDRESS_MASK), min_size=16, max_size=16)),
        time=draw(U64),
        fs_dirty=draw(masked(1)),
        retired=draw(U64),
        cycle_offset=draw(U64),
        instret_offset=draw(U64),
        reservation=draw(U64),
        reserved_value=draw(U64),
        irq_lines=draw(masked(riscv.MIP_MSIP | riscv.MIP_SEIP | riscv.MIP_MEIP)),
        ipi_pending=draw(masked(1)),
        mtimecmp=draw(U64),
        pmp_active=draw(masked(1)),
        hsm_state=int(HartState.START_PENDING if start else draw(st.sampled_from(states))),
        waits=draw(st.booleans()),
        start=start,
        suspend=draw(PAIRS),
    )


def through_json(saved: HartRecord) -> HartRecord:
    return from_plain(HartRecord, json.loads(json.dumps(to_plain(saved))), "hart")


@settings(max_examples=60)
@given(records(), st.sampled_from([0, 100]))
def test_a_hart_that_was_put_in_place_is_recorded_as_the_same(saved: HartRecord, per_tick: int) -> None:
    hart = make_hart(per_tick)
    put(hart, through_json(saved))
    assert record(hart) == saved
    assert hart.vcpu.flushes == 1 and not hart.words[state.STOP]  # type: ignore[attr-defined]


def plain_record() -> HartRecord:
    hart = make_hart()
    hart.vcpu.reset(0x8020_0000, riscv.PRIV_S, 0, 0)
    return record(hart)


def with_csr(name: str, value: int) -> dict[str, Any]:
    csrs = plain_record().csrs
    csrs[CSR_NAMES.index(name)] = value
    return {"csrs": csrs}


@pytest.mark.parametrize(
    "change",
    [
        {"pc": 0x8020_0001},
        {"pc": 1 << 64},
        {"privilege": 2},
        {"x": [1] * 32},
        {"x": [0] * 31},
        {"x": [0] * 31 + [-1]},
        {"f": [0] * 33},
        {"csrs": []},
        {"pmp_address": [1 << 54] + [0] * 15},
        {"pmp_config": [0]},
        {"time": -1},
        {"retired": 1 << 64},
        {"irq_lines": 1 << 12},
        {"ipi_pending": 2},
        {"hsm_state": 2},
        {"hsm_state": 7},
        {"start": [0, 0]},
        {"hsm_state": 2, "start": [0]},
        with_csr("mstatus", 2 << 11),
        with_csr("mstatus", 1 << 63),
        with_csr("satp", 11 << 60),
        with_csr("mie", 1),
        with_csr("mtvec", 2),
        with_csr("sepc", 1),
        with_csr("frm", 8),
        with_csr("fflags", 32),
    ],
    ids=str,
)
def test_a_state_that_no_hart_can_have_is_refused(change: dict[str, Any]) -> None:
    saved = through_json(replace(plain_record(), **change))
    with pytest.raises(ConfigError, match="hart 0"):
        put(make_hart(), saved)


def test_time_goes_on_from_where_it_was_whatever_the_hosts_clock_says() -> None:
    saved = replace(plain_record(), time=5_000_000_000)
    hart = Hart(ScriptedVcpu(ScriptedEngine(lambda vcpu: iter(())), 0, 0), clock := VirtualClock(start_ns=7))
    put(hart, saved)
    assert hart.time_ticks() == 5_000_000_000
    clock.advance_ns(1_000)
    assert hart.time_ticks() == 5_000_000_010
