# SPDX-License-Identifier: Apache-2.0
"""The instruction set that the oracles are told to have: exactly ours, so that what is illegal agrees too."""

from __future__ import annotations

from innkeeper.bench.qemu import cpu_argument


def qemu_cpu(*, privileged: bool) -> str:
    """The argument of QEMU's `-cpu`. Svade is implemented beside Svadu, though the board names only that."""
    return cpu_argument(privileged=privileged, also=["svade"] if privileged else [])
