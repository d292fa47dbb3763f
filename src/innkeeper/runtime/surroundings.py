# SPDX-License-Identifier: Apache-2.0
"""The intrinsics that the privileged architecture asks for, as compiled code has them.

`jit_NAME` stands for the intrinsic NAME of `innkeeper.isa.riscv.surroundings`.
"""

from __future__ import annotations

from innkeeper.codegen.layout import (
    MXCSR,
    RAM_DELTA,
    RUNNING,
    SHARED,
)
from innkeeper.ir.native import M64, Words, native, words_at
from innkeeper.isa.riscv.state import (
    FFLAGS,
    FRM,
    IPI_MAIL,
    OUTCOME_EXIT,
)
from innkeeper.runtime.code import code_page, forget_written, in_ram
from innkeeper.runtime.contexts import contexts_changed
from innkeeper.runtime.dispatch import EXIT_STEP
from innkeeper.runtime.intrinsics import (
    address_of,
    atomic_cas64,
    atomic_exchange64,
    atomic_load64,
    fill_bytes,
    monotonic_ns,
    read_mxcsr,
    write_mxcsr,
)


@native
def jit_phys_is_ram(h: Words, pa: int, size_bytes: int) -> int:
    """`phys_is_ram`."""
    return in_ram(h, pa, size_bytes)


@native
def jit_phys_read64(h: Words, pa: int) -> int:
    """`phys_read64`."""
    return atomic_load64(pa + h[RAM_DELTA] & M64)


@native
def jit_phys_cas64(h: Words, pa: int, old: int, new: int) -> int:
    """`phys_cas64`; code in the page is dropped: a page walk can write to instructions too."""
    done = ram_cas64(h, pa, old, new)
    if done:
        forget_written(h, words_at(h[SHARED]), pa)
    return done


@native
def ram_cas64(h: Words, pa: int, old: int, new: int) -> int:
    """1 if the aligned doubleword of RAM at pa was `old` and is now `new`; code is the caller's business."""
    return atomic_cas64(pa + h[RAM_DELTA] & M64, old, new)


@native
def jit_phys_zero_block(h: Words, pa: int) -> int:
    """`phys_zero_block`. In a page that has code the engine executes the instruction by its definition.

    Dropping code takes the lock, and who waits for that may find the code gone that it would return to.
    """
    if code_page(h, words_at(h[SHARED]), pa):
        return OUTCOME_EXIT + EXIT_STEP
    fill_bytes(pa + h[RAM_DELTA] & M64, 0, 64)
    return forget_written(h, words_at(h[SHARED]), pa)


@native
def jit_clock_ticks(h: Words) -> int:
    """`clock_ticks`."""
    return monotonic_ns() // 100


@native
def jit_take_ipi(h: Words) -> int:
    """`take_ipi`."""
    if h[IPI_MAIL] == 0:
        return 0
    return atomic_exchange64(address_of(h) + 8 * IPI_MAIL, 0)


@native
def jit_translation_changed(h: Words) -> int:
    """`translation_changed`."""
    return contexts_changed(h)


@native
def host_mxcsr(h: Words) -> int:
    """MXCSR as the guest left it: in the CPU while this hart runs, else in its word."""
    return read_mxcsr() if h[RUNNING] else h[MXCSR]


@native
def set_host_mxcsr(h: Words, value: int) -> int:
    """Counterpart of `host_mxcsr`."""
    if h[RUNNING]:
        return write_mxcsr(value)
    h[MXCSR] = value
    return 0


@native
def jit_fp_collect(h: Words) -> int:
    """`fp_collect`: MXCSR's IE DE ZE OE UE PE (bits 0 to 5) to NV DZ OF UF NX, and clear them."""
    flags = host_mxcsr(h)
    accrued = (flags & 1) << 4 | (flags >> 2 & 1) << 3 | (flags >> 3 & 1) << 2
    h[FFLAGS] = h[FFLAGS] | accrued | (flags >> 4 & 1) << 1 | flags >> 5 & 1
    return set_host_mxcsr(h, flags & ~63 & M64)


@native
def jit_fp_configure(h: Words) -> int:
    """`fp_configure`: frm to MXCSR's rounding control (bits 13 and 14)."""
    mode = 0
    if h[FRM] == 1:
        mode = 3
    elif h[FRM] == 2:
        mode = 1
    elif h[FRM] == 3:
        mode = 2
    set_host_mxcsr(h, host_mxcsr(h) & ~(3 << 13) & M64 | mode << 13)
    return contexts_changed(h)
