# SPDX-License-Identifier: Apache-2.0
"""What native functions need from the engine around them: memory, clock and what the engine caches.

Each function is an intrinsic. Its Python body asks the `Surroundings` of a `HartWords`; the jit engine has
its own code for each.
"""

from __future__ import annotations

from typing import Protocol, cast

from innkeeper.ir.native import Words, intrinsic


class Surroundings(Protocol):
    """What an engine written in Python provides. Addresses are guest-physical."""

    def is_ram(self, address: int, size_bytes: int) -> bool:
        """Whether the whole range lies in RAM."""

    def read64(self, address: int) -> int:
        """The aligned doubleword at `address`, which is RAM."""

    def cas64(self, address: int, old: int, new: int) -> bool:
        """Atomically put `new` where `old` stands (aligned, in RAM); whether it stood there."""

    def zero_block(self, address: int) -> None:
        """Clear 64 aligned bytes of RAM."""

    def clock_ticks(self) -> int:
        """Ticks of the host's monotonic clock at 10 MHz, modulo 2**64."""

    def take_ipi(self) -> bool:
        """Whether IPI_MAIL was set; it is cleared in the same moment."""

    def translation_changed(self) -> None:
        """Something that selects a mapping, or whether floating point may run, may have changed."""

    def flush_translations(self, address: int | None, asid: int | None) -> None:
        """Forget translations: of one virtual address or all, of one address space or all."""

    def flush_code(self) -> None:
        """Forget whatever was derived from instructions in memory."""

    def collect_flags(self) -> None:
        """Add floating-point flags that are held elsewhere to FFLAGS."""

    def configure_float(self) -> None:
        """FRM or FFLAGS was written."""


class HartWords:
    """A hart's words together with the surroundings that the intrinsics ask."""

    __slots__ = ("surroundings", "words")

    def __init__(self, words: memoryview, surroundings: Surroundings) -> None:
        self.words = words
        self.surroundings = surroundings

    def __getitem__(self, index: int, /) -> int:
        return self.words[index]

    def __setitem__(self, index: int, value: int, /) -> None:
        self.words[index] = value


def _around(h: Words) -> Surroundings:
    return cast(HartWords, h).surroundings


@intrinsic
def phys_is_ram(h: Words, pa: int, size_bytes: int) -> int:
    """1 if [pa, pa + size_bytes) is all RAM."""
    return int(_around(h).is_ram(pa, size_bytes))


@intrinsic
def phys_read64(h: Words, pa: int) -> int:
    """The aligned doubleword of RAM at pa, read in one piece."""
    return _around(h).read64(pa)


@intrinsic
def phys_cas64(h: Words, pa: int, old: int, new: int) -> int:
    """1 if the aligned doubleword of RAM at pa was `old` and is now `new`."""
    return int(_around(h).cas64(pa, old, new))


@intrinsic
def phys_zero_block(h: Words, pa: int) -> int:
    """Clear the 64-byte block of RAM at pa (aligned); 0, or what `cache_block_zero` is to leave with.

    Compiled code leaves this instruction to its definition where the block's page holds code.
    """
    _around(h).zero_block(pa)
    return 0


@intrinsic
def clock_ticks(h: Words) -> int:
    """The host's monotonic clock in ticks of 10 MHz."""
    return _around(h).clock_ticks()


@intrinsic
def take_ipi(h: Words) -> int:
    """Exchange IPI_MAIL with 0; 1 if it was set."""
    return int(_around(h).take_ipi())


@intrinsic
def translation_changed(h: Words) -> int:
    """Called after satp, PRIV, mstatus SUM MXR MPRV MPP FS, validity of frm, or PMP changed."""
    _around(h).translation_changed()
    return 0


@intrinsic
def translations_flush(h: Words, va: int, has_va: int, asid: int, has_asid: int) -> int:
    """Forget translations, of one address and of one address space where those are given."""
    _around(h).flush_translations(va if has_va else None, asid if has_asid else None)
    return 0


@intrinsic
def code_flush(h: Words) -> int:
    """fence.i: stores before it are seen by fetches after it."""
    _around(h).flush_code()
    return 0


@intrinsic
def fp_collect(h: Words) -> int:
    """Called before fflags is read or written: FFLAGS becomes complete."""
    _around(h).collect_flags()
    return 0


@intrinsic
def fp_configure(h: Words) -> int:
    """Called after frm, fflags or fcsr was written."""
    _around(h).configure_float()
    return 0
