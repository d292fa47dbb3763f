# SPDX-License-Identifier: Apache-2.0
"""What the machine sees of an engine: `run(budget) -> Exit`.

An engine never calls a device. It returns an `Exit`, as KVM does, and the machine answers it: it completes
the access or the call on the vCPU and runs it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class ExitReason(IntEnum):
    """Why `run` returned."""

    BUDGET = 0
    """The budget is spent: exactly that many instructions retired or trapped."""
    IDLE = 1
    """WFI with nothing pending; pc is past it. Run again when an interrupt may be pending."""
    MMIO_READ = 2
    """`address`, `size_bytes`; answer with `complete_read(value)`. FAULT_TVAL is the virtual address."""
    MMIO_WRITE = 3
    """`address`, `size_bytes`, `value`; the instruction is already complete."""
    ECALL = 4
    """Environment call from S-mode, pc at the ecall; answer with `complete_ecall()`."""
    INTERRUPTED = 5
    """`interrupt()` was called, or the engine needs its surroundings to look at it."""
    BREAKPOINT = 6
    """Reserved for debuggers."""
    ERROR = 7
    """The engine cannot go on with this hart (an internal limit); the machine stops with the reason."""


@dataclass(slots=True)
class Exit:
    """One return from `run`. Addresses are guest-physical; `value` is unsigned."""

    reason: ExitReason
    address: int = 0
    size_bytes: int = 0
    value: int = 0


class GuestRam(Protocol):
    """The guest's RAM as the engine needs it: one contiguous range, mapped into this process."""

    base: int
    """Guest-physical address of the first byte."""
    size_bytes: int
    host_address: int
    """Where it is mapped in this process."""

    @property
    def buffer(self) -> memoryview:
        """All of it, writable bytes."""


class Vcpu(Protocol):
    """One hart. All methods but `interrupt`, `set_interrupt`, `post_ipi` are called by the thread that runs
    it."""

    index: int
    words: memoryview
    """The hart's state as unsigned 64-bit words, laid out by `innkeeper.isa.riscv.state`."""

    def run(self, budget: int) -> Exit:
        """Execute up to `budget` instructions. Releases the GIL while it does (jit)."""

    def complete_read(self, value: int) -> None:
        """Finish the load that exited with MMIO_READ."""

    def complete_ecall(self) -> None:
        """Step past the ecall; results were put into a0, a1 through `words`."""

    def raise_exception(self, cause: int, tval: int) -> None:
        """Let the instruction at pc trap (an access fault for an MMIO address where nothing is, say)."""

    def interrupt(self) -> None:
        """Ask `run` to return soon with INTERRUPTED. From any thread."""

    def set_interrupt(self, mip_bits: int, level: int) -> None:
        """Raise or lower interrupt lines, given in mip's bit positions. From any thread."""

    def post_ipi(self) -> None:
        """Make a supervisor software interrupt pending. From any thread."""

    def flush(self) -> None:
        """Forget every address translation (sfence.vma); before the next `run` when another thread asks."""

    def float_collect(self) -> None:
        """Make FFLAGS in `words` complete; no `run` is under way."""

    def float_written(self) -> None:
        """FFLAGS or FRM in `words` were written from outside, before the next `run`."""

    def reset(self, pc: int, privilege: int, a0: int, a1: int) -> None:
        """Architected reset, then start at `pc` in `privilege` with the two boot arguments."""


class ForkGuard(Protocol):
    """An engine between the moment before a fork(2) and the moment after it."""

    def finish(self, *, is_child: bool) -> None:
        """The fork is done, or has failed: go on, in the child with threads and memory of its own."""


class Engine(Protocol):
    """Makes vCPUs over one guest's RAM."""

    name: str

    def create_vcpu(self, index: int, *, ecall_exits: bool, instructions_per_tick: int = 0) -> Vcpu:
        """A hart with hart id `index`, not yet reset.

        `ecall_exits`: ecall from S-mode leaves with ECALL. `instructions_per_tick` > 0 makes time virtual.
        """

    def remote_fence(self, hart_mask: int, *, instruction: bool) -> None:
        """Make the harts in the mask flush translations (and code, if `instruction`) before returning.

        Called by the thread of a hart that is not itself running; must not wait for a hart that is idle.
        """

    def memory_written(self, address: int, size_bytes: int) -> None:
        """RAM is about to be written by something else than a hart. From any thread."""

    def before_fork(self) -> ForkGuard:
        """Get ready for a fork(2), while no vCPU runs; the guard's `finish` is called on both sides of it."""

    def close(self) -> None:
        """Free what the engine holds; no vCPU may be running."""
