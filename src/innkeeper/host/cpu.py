# SPDX-License-Identifier: Apache-2.0
"""The host's CPU, as the kernel describes it. Source: proc_cpuinfo(5)"""

from __future__ import annotations

import os
from functools import lru_cache

_READ_BYTES = 1 << 16
_WHICH = ("vendor_id", "cpu family", "model", "stepping", "flags")


@lru_cache(maxsize=1)
def _first_cpu() -> dict[str, str]:
    try:
        fd = os.open("/proc/cpuinfo", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        text = os.read(fd, _READ_BYTES).partition(b"\n\n")[0].decode("ascii", "replace")
    finally:
        os.close(fd)
    lines = [line.partition(":") for line in text.splitlines()]
    return {name.strip(): value.strip() for name, _, value in lines}


def cpu_description() -> str:
    """What tells CPUs apart that execute different instructions, or execute them in different times."""
    fields = _first_cpu()
    return " ".join([os.uname().machine, *(fields.get(name, "?") for name in _WHICH)])


def cpu_has(feature: str) -> bool:
    """Whether the first CPU has a feature, by the kernel's name for it; no, if the kernel does not tell."""
    return feature in _first_cpu().get("flags", "").split()
