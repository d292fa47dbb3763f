# SPDX-License-Identifier: Apache-2.0
"""Counters and time, as native functions.

While an instruction executes, BUDGET counts the instructions before it as spent and not the instruction
itself: `retired` is the number of instructions before this one. A trapped attempt counts as one.

Spec: riscv-priv 20240411, "Hardware Performance Monitor", "Machine Counter-Inhibit (mcountinhibit) Register".
"""

from __future__ import annotations

from innkeeper.ir.native import M64, Words, native
from innkeeper.isa.riscv.state import (
    BUDGET,
    CYCLE_OFFSET,
    INSTRET,
    INSTRET_OFFSET,
    MCOUNTINHIBIT,
    SLICE,
    TIME_OFFSET,
    VIRTUAL_CLOCK,
)
from innkeeper.isa.riscv.surroundings import clock_ticks
from innkeeper.spec.riscv import COUNTER_CY, COUNTER_IR


@native
def retired(h: Words) -> int:
    """Instructions executed since reset, before the present one."""
    return (h[INSTRET] + h[SLICE] - h[BUDGET]) & M64


@native
def time_value(h: Words) -> int:
    """The `time` CSR: ticks of 10 MHz."""
    if h[VIRTUAL_CLOCK] != 0:
        return (retired(h) // h[VIRTUAL_CLOCK] + h[TIME_OFFSET]) & M64
    return (clock_ticks(h) + h[TIME_OFFSET]) & M64


@native
def cycle_value(h: Words) -> int:
    """mcycle. A cycle is an instruction. While inhibited, CYCLE_OFFSET is the value itself."""
    if h[MCOUNTINHIBIT] & COUNTER_CY:
        return h[CYCLE_OFFSET]
    return (retired(h) + h[CYCLE_OFFSET]) & M64


@native
def instret_value(h: Words) -> int:
    """minstret. While inhibited, INSTRET_OFFSET is the value itself."""
    if h[MCOUNTINHIBIT] & COUNTER_IR:
        return h[INSTRET_OFFSET]
    return (retired(h) + h[INSTRET_OFFSET]) & M64


@native
def cycle_write(h: Words, value: int) -> int:
    """Write mcycle: the next instruction reads `value`."""
    if h[MCOUNTINHIBIT] & COUNTER_CY:
        h[CYCLE_OFFSET] = value
    else:
        h[CYCLE_OFFSET] = (value - retired(h) - 1) & M64
    return 0


@native
def instret_write(h: Words, value: int) -> int:
    """Write minstret: the next instruction reads `value`."""
    if h[MCOUNTINHIBIT] & COUNTER_IR:
        h[INSTRET_OFFSET] = value
    else:
        h[INSTRET_OFFSET] = (value - retired(h) - 1) & M64
    return 0


@native
def inhibit_write(h: Words, value: int) -> int:
    """Write mcountinhibit: counters stop or go on from the value they have."""
    old = h[MCOUNTINHIBIT]
    new = value & (COUNTER_CY | COUNTER_IR)
    cycle = (cycle_value(h) + 1) & M64 if old & COUNTER_CY == 0 else cycle_value(h)
    instret = (instret_value(h) + 1) & M64 if old & COUNTER_IR == 0 else instret_value(h)
    h[MCOUNTINHIBIT] = new
    if (old ^ new) & COUNTER_CY:
        cycle_write(h, cycle)
    if (old ^ new) & COUNTER_IR:
        instret_write(h, instret)
    return 0
