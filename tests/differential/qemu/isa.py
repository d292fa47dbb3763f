# SPDX-License-Identifier: Apache-2.0
"""The instruction set that the oracles are told to have: exactly ours, so that what is illegal agrees too."""

from __future__ import annotations

UNPRIVILEGED = (
    "m a f d c zicsr zifencei zicntr zihintpause zba zbb zbc zbs zicond zicbom zicboz zawrs"
).split()
PRIVILEGED = "s u sstc svadu svade svinval svvptc mmu pmp sv39 sv48 sv57".split()


def qemu_cpu(*, privileged: bool) -> str:
    """The argument of QEMU's `-cpu` for a bare rv64i with our extensions switched on."""
    names = UNPRIVILEGED + (PRIVILEGED if privileged else [])
    return ",".join(["rv64i", *(f"{name}=on" for name in names)])
