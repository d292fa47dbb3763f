# SPDX-License-Identifier: Apache-2.0
"""A signal handler that notes where the interrupted thread was: the profiler's native part.

A timer that signals with `si_value` = address of a sample block interrupts the thread; the block is words:
how many samples were wanted, how many there is room for, then the samples (host addresses).
"""

from __future__ import annotations

from innkeeper.ir.native import native
from innkeeper.runtime.intrinsics import atomic_add64, load64, store64

SAMPLE_COUNT, SAMPLE_CAPACITY, SAMPLES = 0, 1, 2
_SIGINFO_VALUE_BYTES = 24
"""Offset of si_value in siginfo_t of a POSIX timer. Source: Linux, include/uapi/asm-generic/siginfo.h."""
_UCONTEXT_RIP_BYTES = 40 + 8 * 16
"""Offset of RIP in ucontext_t on x86-64: uc_mcontext.gregs[REG_RIP]. Source: glibc, sys/ucontext.h."""


@native
def take_sample(signal: int, info: int, context: int) -> int:
    """The handler; it may interrupt compiled code anywhere."""
    block = load64(info + _SIGINFO_VALUE_BYTES)
    number = atomic_add64(block + 8 * SAMPLE_COUNT, 1) - 1
    if number < load64(block + 8 * SAMPLE_CAPACITY):
        store64(block + 8 * (SAMPLES + number), load64(context + _UCONTEXT_RIP_BYTES))
    return 0
